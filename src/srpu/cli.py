"""The front desk: the verbs of the ``srpu`` command.

A verb imports its task only when it is called, so that ``srpu --help`` is quick. Anything the user can mend is one
sentence and exit code 2; files that failed or problems that were found are exit code 1; Ctrl-C is 130.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from srpu import __version__, cli_active
from srpu.cli_options import PLAIN, ConfigFile, Folder, Overrides, load, open_workspace, workspace_if_any
from srpu.errors import SrpuError
from srpu.terminal import speaking

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    **PLAIN,
)
config = typer.Typer(help="Write, show and check the config files.", **PLAIN)
masks = typer.Typer(help="Mend mask files.", **PLAIN)
app.add_typer(config, name="config")
app.add_typer(masks, name="masks")
weights = typer.Typer(help="Take weights out of other programs' files.", **PLAIN)
app.add_typer(weights, name="weights")
app.add_typer(cli_active.app, name="active")


def main(*argv: str) -> NoReturn:
    """Run ``srpu`` with ``argv`` and what was typed after the program's name, and end the process."""
    try:
        with speaking():
            app([*argv, *sys.argv[1:]], prog_name="srpu")
    except SrpuError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, KeyboardInterrupt) or end.code == 130:
            typer.echo("Stopped by Ctrl-C.", err=True)
            sys.exit(130)
        raise
    except Exception:  # noqa: BLE001  the last place that can ask for a report
        traceback.print_exc()
        typer.echo(
            "This is a mistake in SRPU; please report it with the lines above and what `srpu doctor` says.", err=True
        )
        sys.exit(1)
    raise AssertionError("typer ends every command by raising")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"srpu {__version__}")
        raise typer.Exit


@app.callback()
def _srpu(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Segment scanning electron micrographs: train on your own masks, judge honestly, predict."""


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or existing folder.")]) -> None:
    """Make a workspace: config files, folders and a README."""
    from srpu.tasks import init_task

    init_task.run(folder)


@app.command()
def demo(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put it.")] = Path("demo")) -> None:
    """Show all of it on generated images, in a few minutes."""
    from srpu.tasks import demo_task

    demo_task.run(folder)


@app.command()
def doctor(workspace: Folder = None) -> None:
    """Tell what this machine can do and what is wrong here."""
    from srpu.tasks import doctor_task

    doctor_task.run(open_workspace(workspace) if workspace else workspace_if_any())


@config.command("write")
def config_write(
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace your values by the defaults.")] = False,
    workspace: Folder = None,
) -> None:
    """Write the config files that are missing."""
    from srpu.manual import write_configs

    found = None if workspace else workspace_if_any()
    written, kept = write_configs(
        found.configs if found else (workspace or Path.cwd()) / "configs", overwrite=overwrite
    )
    for path in written:
        typer.echo(f"Written: {path}")
    for path in kept:
        typer.echo(f"Kept: {path} (--overwrite replaces it by the defaults)")


@config.command("reference")
def config_reference(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the pages go.")]) -> None:
    """Write the settings reference: one page in English, one in Chinese."""
    from srpu.manual import write_references

    for path in write_references(folder):
        typer.echo(f"Written: {path}")


@config.command("show")
def config_show(
    task: Annotated[
        str,
        typer.Argument(
            help="index, train, train-stages, finetune, finetune-stages, pretrain, inspect, active, evaluate, predict."
        ),
    ] = "train",
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Print every setting of a task: its value, where it came from, what it means."""
    from srpu.config import entries, load_settings
    from srpu.reading import DEFAULT

    file = ""
    for entry in entries(task, load_settings(task, open_workspace(workspace), overrides or (), config)):
        if entry.file != file:
            file = entry.file
            typer.secho(f"\n{file}\n", bold=True)
        changed = entry.origin != DEFAULT
        typer.secho(f"{entry.name} = {entry.value}", fg="green" if changed else None, nl=False)
        typer.echo(f"   ({entry.origin})")
        for line in entry.manual.splitlines():
            typer.secho(f"    {line}", dim=True)


@config.command("check")
def config_check(workspace: Folder = None) -> None:
    """Check all config files; every mistake is listed at once."""
    from srpu.config import check_configs

    check_configs(open_workspace(workspace))
    typer.echo("All settings are in order.")


@app.command()
def index(
    mode: Annotated[
        Literal["generate_all", "all", "dataset", "labeled", "unlabeled"],
        typer.Option(help="What to index: everything, one data set, or data/labeled or data/raw alone."),
    ] = "generate_all",
    name: Annotated[str | None, typer.Option(help="The data set for --mode dataset.")] = None,
    grow_truth: Annotated[
        bool, typer.Option("--grow-truth", help="Let validation and test grow; starts a new truth version.")
    ] = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Find images and masks, pair them and decide the split."""
    from srpu.tasks import index_task

    loaded = load("index", overrides, config, workspace)
    indexed = index_task.run(*loaded, "all" if mode == "generate_all" else mode, name, grow_truth=grow_truth)
    if indexed.truth_grew:
        from srpu.tasks import evaluate_task

        evaluate_task.rescore(*load("evaluate", None, config, workspace))


@app.command()
def stats(
    show_augmentations: Annotated[
        bool, typer.Option("--show-augmentations", help="Also draw what training makes of the images.")
    ] = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Tell sizes, grey levels and class shares of the images."""
    from srpu.tasks import stats_task

    stats_task.run(*load("index", overrides, config, workspace), show_augmentations=show_augmentations)


@app.command()
def check(overrides: Overrides = None, config: ConfigFile = None, workspace: Folder = None) -> None:
    """Look for bad files, and for images in training and test."""
    from srpu.tasks import check_task

    if check_task.run(*load("index", overrides, config, workspace)).problems:
        raise typer.Exit(1)


@app.command()
def train(
    resume: Annotated[bool, typer.Option("--resume", help="Continue the last run where it stopped.")] = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Train a model on the labelled images; with FOLDS = k, k of them."""
    settings, found = load("train", overrides, config, workspace)
    if settings.FOLDS:
        from srpu.tasks import folds_task

        folds_task.run(settings, found, resume=resume)
    else:
        from srpu.tasks import train_task

        train_task.run(settings, found, resume=resume)


@app.command()
def finetune(
    resume: Annotated[bool, typer.Option("--resume", help="Continue the last run where it stopped.")] = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Adapt a trained model, or a pretrained encoder, to your images."""
    from srpu.tasks import finetune_task

    finetune_task.run(*load("finetune", overrides, config, workspace), resume=resume)


@app.command("train-stages")
def train_stages(
    resume: Annotated[bool, typer.Option("--resume", help="Continue in the stage and epoch where it stopped.")] = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Train in stages (STAGES), each from the best model of the one before."""
    from srpu.tasks import stages_task

    stages_task.run(*load("train-stages", overrides, config, workspace), "train-stages", resume=resume)


@app.command("finetune-stages")
def finetune_stages(
    resume: Annotated[bool, typer.Option("--resume", help="Continue in the stage and epoch where it stopped.")] = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Fine-tune in stages (STAGES), each from the best model of the one before."""
    from srpu.tasks import stages_task

    stages_task.run(*load("finetune-stages", overrides, config, workspace), "finetune-stages", resume=resume)


@app.command()
def pretrain(
    resume: Annotated[bool, typer.Option("--resume", help="Continue the last run where it stopped.")] = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Let an encoder learn from images without masks."""
    from srpu.tasks import ssl_pretrain_task

    ssl_pretrain_task.run(*load("pretrain", overrides, config, workspace), resume=resume)


@app.command()
def inspect(overrides: Overrides = None, config: ConfigFile = None, workspace: Folder = None) -> None:
    """Show what a pretrained encoder has learned, and whether it helps; with a report."""
    from srpu.tasks import ssl_inspect_task

    ssl_inspect_task.run(*load("inspect", overrides, config, workspace))


@app.command()
def evaluate(
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="OTHER.pth", help="Also say whether it is better or worse than this other model."
        ),
    ] = None,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Judge a model, or masks made by anything; with a report."""
    from srpu.tasks import evaluate_task

    evaluate_task.run(*load("evaluate", overrides, config, workspace), against)


@app.command()
def predict(
    source: Annotated[Path | None, typer.Argument(help="An image or a folder; by default INPUT_DIR.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Predict again what is done already.")] = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Segment images with a trained model."""
    from srpu.tasks import predict_task

    if predict_task.run(*load("predict", overrides, config, workspace), source, overwrite=overwrite).failed:
        raise typer.Exit(1)


@masks.command("repair")
def masks_repair(
    paths: Annotated[list[Path], typer.Argument(help="Mask files.")],
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Write a copy beside each mask in which every pixel has the nearest colour of COLOR_MAPPING."""
    from srpu.tasks import masks_task

    if masks_task.repair(*load("index", overrides, config, workspace), paths).failed:
        raise typer.Exit(1)


@weights.command("convert")
def weights_convert(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The file to read.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The file to write: .pth or .safetensors.")],
    trust: Annotated[bool, typer.Option("--trust", help="Let OLD run its code: only if you know who made it.")] = False,
) -> None:
    """Copy the weights of a file into one that can be read without running code."""
    from srpu.tasks import weights_task

    weights_task.convert(old, new, trust=trust)
