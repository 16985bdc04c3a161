"""The verbs of ``srpu active``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from srpu.cli_options import PLAIN, ConfigFile, Folder, Overrides, load

app = typer.Typer(help="Rounds of active learning: ask for the masks that help most.", **PLAIN)

Force = Annotated[bool, typer.Option("--force", help="Take a round's model although it is worse than the one before.")]
Unchanged = Annotated[
    bool, typer.Option("--unchanged", help="Masks that come back as they were predicted are right: take them.")
]
Repair = Annotated[bool, typer.Option("--repair", help="Take masks with the repairs that were offered.")]


@app.command()
def run(
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Do not wait for masks: end, and go on at the next call.")
    ] = False,
    force: Force = False,
    unchanged: Unchanged = False,
    repair: Repair = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Go from round to round: train, judge, ask, wait for masks, take them in."""
    from srpu.tasks import active_learning_task as task
    from srpu.tasks.active_intake import Answers

    answers = Answers(confirm_unchanged=unchanged, repair=repair)
    task.run(*load("active", overrides, config, workspace), wait=not no_wait, force=force, answers=answers)


@app.command()
def train(
    force: Force = False, overrides: Overrides = None, config: ConfigFile = None, workspace: Folder = None
) -> None:
    """Train a round's model on all labels so far, and judge it."""
    from srpu.tasks import active_learning_task as task

    task.train(*load("active", overrides, config, workspace), force=force)


@app.command()
def propose(overrides: Overrides = None, config: ConfigFile = None, workspace: Folder = None) -> None:
    """Choose what to label next, and write images and predicted masks to a folder."""
    from srpu.tasks import active_learning_task as task

    task.propose(*load("active", overrides, config, workspace))


@app.command("take-in")
def take_in(
    unchanged: Unchanged = False,
    repair: Repair = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Take in the corrected masks that have come back."""
    from srpu.tasks import active_learning_task as task
    from srpu.tasks.active_intake import Answers

    answers = Answers(confirm_unchanged=unchanged, repair=repair)
    task.take_in(*load("active", overrides, config, workspace), answers)


@app.command()
def status(overrides: Overrides = None, config: ConfigFile = None, workspace: Folder = None) -> None:
    """Tell where the rounds stand and what to do next; also while they run."""
    from srpu.tasks import active_learning_task as task

    task.status(*load("active", overrides, config, workspace))


@app.command()
def skip(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the image's files are called, without ending.")],
    why: Annotated[str, typer.Option("--why", help="The reason, for the record.")],
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Leave out an image that was asked for; it is never asked for again."""
    from srpu.tasks import active_learning_task as task

    task.skip(*load("active", overrides, config, workspace), name, why)


@app.command()
def close(overrides: Overrides = None, config: ConfigFile = None, workspace: Folder = None) -> None:
    """End a round of which not all masks have come back; the rest goes back to the pool."""
    from srpu.tasks import active_learning_task as task

    task.close(*load("active", overrides, config, workspace))


@app.command()
def undo(overrides: Overrides = None, config: ConfigFile = None, workspace: Folder = None) -> None:
    """Take back the last masks that were taken in, or the last model; nothing is deleted."""
    from srpu.tasks import active_learning_task as task

    task.undo(*load("active", overrides, config, workspace))


@app.command()
def masks(
    sources: Annotated[
        list[Path] | None, typer.Argument(help="Images or folders; by default all images without a mask.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="MODEL.pth", help="The model; by default the current one.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Where the masks go.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also replace masks that were edited.")] = False,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Make predicted masks to correct, of any images, with any model."""
    from srpu.tasks import prediction_masks_task as task

    settings, found = load("active", overrides, config, workspace)
    if task.run(settings, found, sources, checkpoint=checkpoint, output=output, overwrite=overwrite).failed:
        raise typer.Exit(1)


@app.command()
def replay(
    strategies: Annotated[
        list[str] | None,
        typer.Argument(help='"mix", or the name of a strategy; by default the mix and every strategy that is on.'),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="How often everything is repeated.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds after the first model.")] = 5,
    batch: Annotated[int | None, typer.Option(min=1, help="Images or windows of a round.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of a round.")] = 200,
    overrides: Overrides = None,
    config: ConfigFile = None,
    workspace: Folder = None,
) -> None:
    """Tell whether active learning saves labels here, by playing it on images whose masks are known."""
    from srpu.tasks import active_replay_task as task

    settings, found = load("active", overrides, config, workspace)
    task.run(settings, found, strategies=strategies or None, seeds=seeds, rounds=rounds, batch=batch, steps=steps)
