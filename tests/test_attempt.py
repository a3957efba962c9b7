"""Logs of installations that failed: the command, the status and the lines, whatever is around them."""

import pytest

from kit.collect import attempt
from kit.errors import KitError

SAID = "ModuleNotFoundError: No module named 'torch'"


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("$ pip install torch-scatter", ("pip", "install", "torch-scatter")),
        ("root@a1b2:/work# pip3 install 'numpy<2'", ("pip3", "install", "numpy<2")),
        ("(base) PS C:\\Users\\me> pip install torch-scatter", ("pip", "install", "torch-scatter")),
        ("+ python -m pip install apex", ("python", "-m", "pip", "install", "apex")),
        ("!pip install torch-scatter -f page", ("pip", "install", "torch-scatter", "-f", "page")),
        ("#9 [5/7] RUN pip install torch-scatter", ("pip", "install", "torch-scatter")),
        ("In [3]: %pip install torch-sparse", ("pip", "install", "torch-sparse")),
        ("$ FORCE_CUDA=1 uv pip install a", ("FORCE_CUDA=1", "uv", "pip", "install", "a")),
        ("pip install a \\\n    --no-deps", ("pip", "install", "a", "--no-deps")),
        ("Run pip to install things", ()),
    ],
)
def test_the_command(line, argv):
    found = attempt.parse(f"{line}\n{SAID}\n")
    assert found.argv == argv
    assert found.said[-1] == SAID


def test_status_colours_bars_and_secrets():
    text = (
        "$ pip install torch-scatter --index-url https://me:s3cret@pypi.example.org/simple\r\n"
        "Downloading 1%\rDownloading 50%\rDownloading 100%\n\n"
        "\x1b[31mERROR: failed\x1b[0m\n"
        "The command '/bin/sh -c pip' returned a non-zero code: 1\n"
    )
    found = attempt.parse(text)
    assert found.status == 1
    assert "Downloading 100%" in found.said and "ERROR: failed" in found.said
    assert "s3cret" not in repr(found)


def test_of_a_long_log_the_beginning_and_the_end_are_read(tmp_path):
    log = tmp_path / "log"
    log.write_text("$ pip install torch-scatter\n" + "x" * 79 + "\n" + ("y" * 79 + "\n") * 60000 + SAID + "\n")
    found = attempt.read(str(log))
    assert found.argv == ("pip", "install", "torch-scatter")
    assert found.said[-1] == SAID and len(found.said) == attempt.LINES


def test_no_log(tmp_path):
    with pytest.raises(KitError, match="cannot be read: No such file"):
        attempt.read(str(tmp_path / "none"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(KitError, match="is empty"):
        attempt.read(str(tmp_path / "empty"))
