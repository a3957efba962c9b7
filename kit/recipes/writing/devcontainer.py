"""A development container from wishes: a Dockerfile and its devcontainer.json."""

import json

from kit.recipes.writing.dockerfile import arguments, dockerfile
from kit.recipes.writing.images import images
from kit.recipes.writing.steps import VENV
from kit.recipes.writing.wish import Wishes

FOLDER = ".devcontainer"


def devcontainer(wishes: Wishes, head: tuple[str, ...]) -> dict[str, str]:
    """The two files, by name.  JupyterLab is started where it is among the packages or comes with the project."""
    jupyter = wishes.project is not None or any(pin.name == "jupyterlab" for pin in wishes.pins)
    container = f"{json.dumps(_settings(wishes, jupyter), indent=2)}\n"
    return {"Dockerfile": dockerfile(wishes, head, jupyter), "devcontainer.json": container}


def _settings(wishes: Wishes, jupyter: bool) -> "dict[str, object]":
    found: dict[str, object] = {
        "name": f"torch {wishes.torch}+{wishes.token}",
        "build": {
            "dockerfile": "Dockerfile",
            "context": "..",  # the folder that holds this one
            "args": arguments(wishes, images(wishes)),
        },
    }
    if wishes.cuda:
        found["hostRequirements"] = {"gpu": "optional"}  # it starts with and without one
    found.update({"remoteUser": "root", "overrideCommand": True})
    if jupyter:
        found["forwardPorts"] = [8888]
        found["portsAttributes"] = {"8888": {"label": "JupyterLab", "onAutoForward": "notify"}}
    if wishes.project is not None:  # the opened folder, in place of the copy in the image
        found["postCreateCommand"] = "pip install --no-deps --no-build-isolation -e . && python -m kit verify"
    extensions = ["ms-python.python", "ms-toolsai.jupyter"]
    settings: dict[str, object] = {"python.defaultInterpreterPath": f"{VENV}/bin/python"}
    if "test" in (wishes.project or "").split(","):
        extensions.append("charliermarsh.ruff")
        settings["python.testing.pytestEnabled"] = True
    found["customizations"] = {"vscode": {"extensions": extensions, "settings": settings}}
    return found
