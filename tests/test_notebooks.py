"""Every notebook runs from top to bottom, and the first one does so in a real JupyterLab."""

import shutil
from pathlib import Path

import nbformat
import pytest
from browser import run_lab, start_chromium
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_without_a_warning(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, resources=resources).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output["text"]


@pytest.mark.browser
def test_first_notebook_in_jupyterlab(tmp_path):
    """Run all cells as a user would, and look: the player shows a frame of the laughter."""
    with start_chromium() as chromium, run_lab(tmp_path, []) as address:
        (notebook,) = (path for path in NOTEBOOKS if path.stem == "01_first_look")
        shutil.copy(notebook, tmp_path / "root")
        page = chromium.new_page(viewport={"width": 1300, "height": 1400})
        page.goto(address.replace("player.ipynb", notebook.name))
        page.wait_for_function(
            "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel"
            "?.connectionStatus === 'connected'",
            timeout=60_000,
        )
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_function(
            """() => window.jupyterapp.shell.currentWidget.content.widgets
                .filter(cell => cell.model.type === 'code')
                .every(cell => cell.model.executionCount)""",
            timeout=300_000,
        )
        errors = page.evaluate(
            """() => window.jupyterapp.shell.currentWidget.content.widgets
                .filter(cell => cell.model.type === 'code')
                .flatMap(cell => cell.model.outputs.toJSON())
                .filter(output => output.output_type === 'error' || output.name === 'stderr')"""
        )
        assert errors == []
        page.locator(".emokit-player").scroll_into_view_if_needed()
        page.wait_for_function(
            """() => {
                const video = document.querySelector('.emokit-player video');
                return video && video.readyState >= 2 && !video.seeking
                    && Math.abs(video.currentTime - 17.5) < 0.1;
            }""",
            timeout=20_000,
        )
        page.screenshot(path=tmp_path / "player.png")
        assert (tmp_path / "player.png").stat().st_size > 100_000
