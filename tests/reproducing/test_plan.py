"""What a table comes to: which runs, in which folders; what is refused before anything is run."""

from pathlib import Path

import pytest

from hgad_jax.cli import reproduce as command
from hgad_jax.cli import sweep as sweep_command
from hgad_jax.config import get_config, validate
from hgad_jax.errors import UserError
from hgad_jax.reproducing.all_tables import TABLES, table_of
from hgad_jax.reproducing.hours import hours
from hgad_jax.reproducing.job import Places, commands, config_of
from hgad_jax.reproducing.plan import plan, shell_lines
from hgad_jax.reproducing.sweep import table as sweep_table
from hgad_jax.runs import workdir

PLACES = Places(Path("/out"), "/images")
RUN = [name for name, table in TABLES.items() if not table.cannot]


@pytest.mark.parametrize("name", RUN)
def test_each_run_of_a_table_has_a_config_that_holds(name):
    planned = plan(TABLES[name], classes=(), seeds=(7,))
    names = [job.name for job in planned.jobs]
    assert len(set(names)) == len(names)
    first = {job.column: job for job in planned.jobs}  # of each column; of its classes only words differ
    for job in first.values():
        config = config_of(job, PLACES)
        validate(config, num_devices=1)
        assert config.seed == 7
        assert config.data.root == "/images"
        assert config.cache.dir == "/out/cache"
        workdir.local_path(PLACES.workdir(job), to_train=True)


def test_the_numbers_of_models_are_those_of_the_papers():
    counts = {name: len(plan(TABLES[name]).jobs) for name in RUN}
    assert counts["cflow_table2"] == 9 * 15 * 4
    assert counts["cflow_table3"] == 4 * 15 * 4
    assert counts["altub_tablea1"] == 8 * 15
    assert counts["hgad_union"] == 1
    assert counts["hgad_table3"] == 3 * 15 + 3 + 1
    assert counts["cflow_table5"] == 12


def test_tables_share_the_models_that_they_have_in_common():
    three, four = (plan(TABLES[f"cflow_table{i}"]) for i in (3, 4))
    assert {job.name for job in four.jobs} <= {job.name for job in three.jobs}


def test_a_column_is_what_the_paper_says_of_it():
    planned = plan(TABLES["cflow_table2"], seeds=(0,), classes=("screw",))
    by_column = {job.column: config_of(job, PLACES) for job in planned.jobs}
    two = by_column["wrn50_4cl_2pl_256"]
    assert tuple(two.backbone.taps) == ("layer3", "layer4")
    assert two.detector.num_blocks == 4
    assert two.data.image_size == 256
    assert by_column["wrn50_512_uflow"].detector.condition_channels == 0
    assert by_column["mnv3_512"].backbone.name == "mobilenetv3_large_100.tv_in1k"
    of_class = plan(TABLES["altub_table2"], classes=("carpet", "pill", "grid"), columns=("fastflow_altub",))
    backbones = {j.class_name: config_of(j, PLACES).backbone.name.partition("_")[0] for j in of_class.jobs}
    assert backbones == {"carpet": "deit", "pill": "cait", "grid": "wide"}
    (hazelnut,) = plan(TABLES["cflow_table4"], classes=("hazelnut",), columns=("wrn50",), seeds=(0,)).jobs
    assert config_of(hazelnut, PLACES).data.image_size == 512


def test_another_setting_is_another_run_and_another_place_is_not():
    def name(**settings):
        (job,) = plan(
            TABLES["hgad_btad"], settings={k.replace("__", "."): v for k, v in settings.items()}
        ).jobs
        return job.name

    assert name() == name()
    assert name() != name(train__epochs="1")
    (job,) = plan(TABLES["hgad_btad"]).jobs
    assert "hgad_btad" in job.name
    assert job.name.endswith("seed0")


def test_the_commands_are_those_that_one_would_type(capsys):
    assert command.status(["hgad_btad", "--root=/images", "--out=/out", "--dry-run"]) == 0
    train, evaluate = capsys.readouterr().out.splitlines()
    planned = plan(TABLES["hgad_btad"])
    assert [train, evaluate] == shell_lines(planned, PLACES)
    assert train.startswith("hgad-jax train --config=hgad_btad:paper,tf_efficientnet_b6 ")
    assert "--config.data.root=/images" in train
    assert evaluate.startswith("hgad-jax eval --workdir=/out/runs/")
    assert not Path("/out").exists()
    assert commands(planned.jobs[0], PLACES)[0][0] == "train"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cflow_tabel3"], "There is no table 'cflow_tabel3'. Did you mean cflow_table3"),
        (["cflow_table1"], "is not run: It has no figures"),
        (["cflow_table3", "--classes=bottel"], "no class 'bottel'; there are bottle, cable"),
        (["cflow_table3", "--columns=wrn"], "no column 'wrn'; there are r18, wrn50"),
        (["cflow_table3", "--seeds=a,b"], "--seeds=a,b: 'a' is no whole number"),
        (["cflow_table3", "--seeds=1,1"], "a seed is there twice"),
        (["cflow_table3", "--seeds=-1"], "'-1' is no whole number"),
        (["cflow_table3", "--config.train.epochs"], "expected --config.SECTION.KEY=VALUE"),
        (["complexity", "--classes=bottle"], "about models, not about classes"),
    ],
)
def test_bad_input_is_refused(arguments, said, capsys):
    assert command.status([*arguments, "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_what_every_run_would_fail_with_is_told_once_before_the_first(tmp_path, capsys, monkeypatch):
    """A dataset that is not there, and weights that were not fetched."""
    monkeypatch.setenv("HGAD_JAX_CACHE", str(tmp_path / "cache"))
    out = f"--out={tmp_path / 'out'}"
    assert command.status(["altub_table3", f"--root={tmp_path}", out]) == 2
    err = capsys.readouterr().err
    assert "does not hold BTAD" in err
    assert err.count("fetch wide_resnet50_2.racm_in1k") == 1
    assert not (tmp_path / "out" / "runs").exists()
    assert command.status(["altub_table3", f"--root={tmp_path}", out, "--config.train.epoch=1"]) == 2
    assert "epoch" in capsys.readouterr().err


def test_hours_grow_with_what_is_run():
    one = hours(plan(TABLES["hgad_mvtec_ad"]), PLACES, 1e11)
    more = hours(plan(TABLES["hgad_mvtec_ad"], seeds=(0, 1)), PLACES, 1e11)
    assert one > 1
    assert more == pytest.approx(2 * one)
    assert hours(plan(TABLES["hgad_mvtec_ad"]), PLACES, 2e11) == pytest.approx(one / 2)
    strange = sweep_table(["hgad_folder"], [])
    assert hours(plan(strange), PLACES, 1e11) is None


def test_a_sweep_is_the_product_of_its_values():
    table = sweep_table(
        ["cflow_folder", "hgad_folder"], ["train.epochs=1,2", "backbone.taps=('a','b'),('c',)"]
    )
    assert len(table.columns) == 2 * 2 * 2
    assert table.columns[0].settings == {"train.epochs": "1", "backbone.taps": "('a','b')"}
    planned = plan(table, seeds=(0, 1), settings={"data.name": "folder"})
    assert len(planned.jobs) == 16
    assert {job.class_name for job in planned.jobs} == {""}
    by_class = plan(sweep_table(["cflow_elpv"], ["train.epochs=1"], classes=("mono", "poly")))
    assert [job.config for job in by_class.jobs] == ["cflow_elpv:mono", "cflow_elpv:poly"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--grid=train.epochs"], "expected SECTION.KEY=VALUE"),
        (["--grid=epochs=1"], "expected SECTION.KEY=VALUE"),
        (["--grid=train.epochs=1,"], "expected SECTION.KEY=VALUE"),
        (["--grid=train.epochs=1,1"], "a value is there twice"),
        (["--grid=train.epochs=1", "--grid=train.epochs=2"], "is there twice"),
        (["--config=hgad_elpv"], "one is there twice"),
        (["--metrics=auroc"], "no metric auroc"),
        (["--seeds=1.5"], "no whole number"),
    ],
)
def test_a_bad_sweep_is_refused(arguments, said, capsys):
    assert sweep_command.status(["--config=hgad_elpv", *arguments, "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_near_names_are_told():
    with pytest.raises(UserError, match="Did you mean altub_table5"):
        table_of("altub_tabel5")


def test_normality_is_of_latents_that_should_be_normal():
    config = get_config("hgad_elpv")
    config.eval.normality = True
    with pytest.raises(UserError, match=r"eval\.normality is True, expected False: hgad .* has no latents"):
        validate(config, num_devices=1)
    config = get_config("fastflow_elpv")
    config.eval.normality = True
    validate(config, num_devices=1)
