"""The command line: help, lazy imports, default configs, completion, and mistakes as one error line."""

import subprocess
import sys
from pathlib import Path

import pytest

from leyden.cli import VERBS, available_verbs, main


def test_help_lists_every_verb(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert [verb for verb in available_verbs() if verb not in out] == []


@pytest.mark.parametrize("verb", ["fit", "tune", "validate", "test", "doctor"])
def test_help_of_a_verb_that_shares_its_options_says_what_it_does(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    first_line = capsys.readouterr().out.splitlines()[0]
    assert first_line == f"{VERBS[verb][1].capitalize()}."


def test_help_and_prepare_import_neither_torch_nor_lightning():
    code = (
        "import sys; from leyden.cli import main; main(['--help']);"
        "import leyden.stages.prepare, leyden.stages.sample, leyden.stages.report;"
        "print([m for m in ('torch', 'lightning', 'captum') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_unknown_verb_suggests_the_nearest(error_of):
    assert "did you mean 'prepare'?" in error_of("prepair")


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("leyden 0.")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--val_fractoin=0.1"], "did you mean 'val_fraction'?"),
        (["--val_fraction=much"], "val_fraction: expected float; got much"),
        (["-c", "nope.yaml"], "expected a config file at nope.yaml; got: No such file"),
        (["--data=nowhere"], "expected a folder of images or sequences at nowhere"),
        (["--val_fraction=0.9"], "sum to less than 1; got 0.9 and 0.2"),
    ],
)
def test_mistakes_in_the_options_of_a_verb(error_of, args, expected):
    assert expected in error_of("prepare", *args)


def test_mistake_in_a_config_file(error_of, tmp_path):
    (tmp_path / "bad.yaml").write_text("max_image_siz: 3\n")
    assert "did you mean 'max_image_size'?" in error_of("prepare", "-c", str(tmp_path / "bad.yaml"))


def test_leyden_debug_shows_the_traceback(monkeypatch):
    from leyden.errors import UserError

    monkeypatch.setenv("LEYDEN_DEBUG", "1")
    with pytest.raises(UserError):
        main(["prepare", "--data=nowhere"])


def test_a_verb_reads_its_default_config_unless_a_different_one_is_named(tmp_path, monkeypatch, error_of):
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/prepare.yaml").write_text("data: from-own\n")
    Path("other.yaml").write_text("data: from-other\n")
    assert "from-own" in error_of("prepare")
    assert "from-other" in error_of("prepare", "-c", "other.yaml")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_script_is_valid_and_completes_verbs_and_keys(shell, capsys, tmp_path, in_trained):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("evaluate", "--trainer.max_epochs", "--data.init_args.batch_size"):
        assert word in script
    if shell == "bash":
        (tmp_path / "leyden.bash").write_text(script)
        complete = 'source "$0"; COMP_WORDS=(leyden ev); COMP_CWORD=1; _leyden; echo "${COMPREPLY[@]}"'
        done = subprocess.run(
            ["bash", "-c", complete, str(tmp_path / "leyden.bash")], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["evaluate"]


def test_public_names():
    import leyden

    for name in leyden.__all__:
        assert getattr(leyden, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = leyden.nothing
