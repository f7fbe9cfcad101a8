// /openapi.json as a page.

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function example(path, method, route) {
  const query = path === "/v1/predict" ? "?heatmap=1" : "";
  const data = route.requestBody ? " -F images=@part.png" : "";
  const verb = method === "post" && !data ? " -X POST" : "";
  return `curl${verb} -H "Authorization: Bearer $HGAD_JAX_TOKEN"${data} "${location.origin}${path}${query}"`;
}

function described(path, method, route) {
  const found = [element("h2", `${method.toUpperCase()} ${path}`), element("p", route.summary ?? "")];
  const list = element("ul", "");
  for (const one of route.parameters ?? []) {
    list.append(element("li", `${one.name} (${one.in}): ${one.description ?? ""}`));
  }
  for (const [status, answer] of Object.entries(route.responses ?? {})) {
    list.append(element("li", `${status}: ${answer.description}`));
  }
  found.push(list, element("pre", example(path, method, route)));
  const schema = route.responses?.["200"]?.content?.["application/json"]?.schema;
  if (schema?.properties) {
    found.push(element("pre", JSON.stringify(schema.properties, null, 1)));
  }
  return found;
}

const said = await (await fetch("/openapi.json")).json();
document.getElementById("about").textContent = said.info.description;
for (const [path, methods] of Object.entries(said.paths)) {
  for (const [method, route] of Object.entries(methods)) {
    document.getElementById("routes").append(...described(path, method, route));
  }
}
