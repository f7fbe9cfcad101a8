"""What `/openapi.json` says of the routes beyond what FastAPI finds out by itself."""

from typing import Any

ABOUT = (
    "Anomaly detection for factory inspection. With a token, every route but the health checks wants the "
    "header `Authorization: Bearer TOKEN`. Errors are JSON: `error.status`, `error.code` for programs, "
    "`error.message` for people. 503 with `Retry-After` means: nothing is wrong, send it again."
)


def _query(name: str, what: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": what, "schema": {"type": kind}}


_MODEL = _query("model", "Name of the model, where the server has several.")
_NUMBER, _TEXT, _TRUTH = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
_PNG = {
    "type": "object",
    "properties": {"height": {"type": "integer"}, "width": {"type": "integer"}, "png": _TEXT},
}
_RESULT = {
    "type": "object",
    "description": "Fields that later versions add to a prediction appear here by their names.",
    "properties": {
        "name": _TEXT,
        "height": {"type": "integer"},
        "width": {"type": "integer"},
        "decision": {"type": "string", "enum": ["good", "anomalous"]},
        "score": _NUMBER,
        "normalized": {**_NUMBER, "description": "0 to 1, 0.5 at the threshold."},
        "threshold": _NUMBER,
        "anomalous": _TRUTH,
        "p_value": {**_NUMBER, "description": "Share of good parts with a score at least as high."},
        "class_name": {**_TEXT, "description": "The class that it is scored as, the nearest if unknown."},
        "class_probability": _NUMBER,
        "unknown": {**_TRUTH, "description": "It is unlike any class, whatever its score."},
        "unknown_p_value": _NUMBER,
        "regions": {"type": "array", "items": {"type": "object"}},
        "map_threshold": _NUMBER,
        "evidence": {"type": "object"},
        "heatmap": {**_PNG, "description": "Base64 RGBA PNG to lay over the image."},
        "map": {**_PNG, "description": "Base64 16-bit PNG; 32768 at the pixel threshold."},
        "contours": {"type": "object"},
        "timings": {"type": "object", "description": "Seconds; batch: images scored together."},
    },
}
_ERRORS = {
    "400": "A parameter or the form is wrong.",
    "401": "The token is missing or wrong.",
    "404": "There is no such model.",
    "408": "The request did not arrive in time.",
    "413": "Too many bytes or images.",
    "415": "The request is no multipart form.",
    "422": "An image cannot be read; `error.images` lists each.",
    "503": "Busy or starting: send it again after `Retry-After` seconds.",
}
PREDICT: dict[str, Any] = {
    "parameters": [
        _MODEL,
        _query("class", "Class of the images, where it is known."),
        _query("heatmap", "1: heat maps, too.", "integer"),
        _query("map", "1: maps, too.", "integer"),
        _query("contours", "1: outlines of what is above the pixel threshold, too.", "integer"),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            }
        },
    },
    "responses": {
        "200": {
            "description": "A result for each image, in their order.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "model": _TEXT,
                            "generation": {"type": "integer"},
                            "results": {"type": "array", "items": _RESULT},
                            "seconds": _NUMBER,
                        },
                    }
                }
            },
        },
        **{status: {"description": text} for status, text in _ERRORS.items()},
    },
}
MODEL: dict[str, Any] = {"parameters": [_MODEL]}
