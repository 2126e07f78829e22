"""The command line: dspy-router demo | train | optimize | calibrate | compare | … | learn | rollback | log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from dspy_router.cli.calibrate import calibrate
from dspy_router.cli.compare import compare
from dspy_router.cli.distill import distill
from dspy_router.cli.export import export
from dspy_router.cli.finding import find_attribute, find_function
from dspy_router.cli.learn import learn, rollback
from dspy_router.cli.log import log_app
from dspy_router.tables import show_decision, show_figures, show_optimization, show_scores, show_table

if TYPE_CHECKING:
    from dspy_router.config import RunConfig
    from dspy_router.routing.router import Router
    from dspy_router.runtime.exported import ExportedRouter

# What is raised for a user's mistake; anything else is a fault of this package and shows its traceback.
_EXPECTED = (ValueError, TypeError, OSError, ImportError, RuntimeError, FloatingPointError)


class _PlainErrors(TyperGroup):
    """Prints a mistake as one sentence and exits with 1, unless asked for the traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except _EXPECTED as error:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(cls=_PlainErrors, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")

RouterFolder = Annotated[str, typer.Argument(metavar="ROUTER", help="Folder a router was saved to.")]
Query = Annotated[str, typer.Argument(metavar="TEXT", help="What to decide on.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def main() -> None:
    """Run the command line; the console script `dspy-router`."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dspy-router {version('dspy-router')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """A trainable local tool router for DSPy programs."""


@app.command()
def demo(
    lm: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Let this language model write the answers, e.g. openai/gpt-4o.")
    ] = None,
    encoder: Annotated[str, typer.Option(help="minilm, hash, gru, transformer, or a model's name or path.")] = "minilm",
) -> None:
    """Train a router on the bundled queries, then route, call the tools and answer."""
    from dspy_router.demo.show import run_demo

    run_demo(lm=lm, encoder=encoder)


@app.command()
def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file such as configs/demo.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Replace values: train.epochs=3 output=out/x")
    ] = None,
) -> None:
    """Train a router as a configuration says, and save it."""
    from dspy_router.config import load_config, parse
    from dspy_router.data.datasets import read_examples
    from dspy_router.evaluation.metrics import evaluate as score
    from dspy_router.learning.trainer import TrainConfig, fit

    run = load_config(config, overrides or [])
    settings = parse(TrainConfig, run.train, where=f"{config}, section train")
    examples, val = read_examples(*run.data.train), read_examples(*run.data.val)
    router = _new_router(run)
    report = fit(router, examples, val=val or None, config=settings)
    router.save(run.output)
    passes = f"{len(report.epochs)} epochs, kept the {report.best_epoch}." if val else f"{len(report.epochs)} epochs."
    typer.echo(f"Trained on {report.examples} examples in {report.seconds:.1f} s, {passes}")
    if val:
        show_figures(score(router, val), f"Validation: {', '.join(run.data.val)}")
    typer.echo(f'Saved the router to {run.output}. Next: dspy-router route {run.output} "your text"')


@app.command()
def optimize(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file such as configs/optimize.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Replace values: router.max_rollouts=500")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn a program's choice of tools, and its prompts, from its own metric."""
    from dspy_router.config import load_optimization

    run = load_optimization(config, overrides or [])
    program, metric = (find_function(source, key) for key, source in (("program", run.program), ("metric", run.metric)))
    from dspy_router.program.tuning.optimization import optimize as run_optimization

    done = run_optimization(run, program, metric, where=config).to_dict()
    if as_json:
        typer.echo(json.dumps(done, ensure_ascii=False))
        return
    show_optimization(done)
    typer.echo(f"Wrote {', '.join(done['files'])}.")
    typer.echo(f"Next: program = {run.program.partition(':')[2]}(); program.load({done['files'][0]!r})")


@app.command()
def evaluate(
    router: RouterFolder,
    data: Annotated[
        list[str],
        typer.Option(metavar="FILE", help='Labelled queries, one {"query", "tool"} object a line; repeatable.'),
    ],
    as_json: AsJson = False,
) -> None:
    """Score a router on labelled queries."""
    from dspy_router.data.datasets import read_examples
    from dspy_router.evaluation.metrics import evaluate as score

    result = score(_load_any(router), read_examples(*data))
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    show_scores(result)
    show_figures(result, ", ".join(data))


@app.command()
def route(
    router: RouterFolder, text: Annotated[str, typer.Argument(help="What to decide on.")], as_json: AsJson = False
) -> None:
    """Decide which tool a text asks for."""
    decision = _load_any(router).decide(text)
    if as_json:
        typer.echo(json.dumps({**decision.to_dict(), "confidence": decision.confidence}, ensure_ascii=False))
    else:
        show_decision(decision)


@app.command()
def explain(router: RouterFolder, text: Query, as_json: AsJson = False) -> None:
    """Show why: the closest rivals, the words that moved the decision, the nearest training queries."""
    explanation = _load(router).explain(text)
    if as_json:
        typer.echo(json.dumps(explanation.to_dict(), ensure_ascii=False))
        return
    show_decision(explanation.decision)
    words = [(word, f"{influence:+.2f}") for word, influence in explanation.words]
    show_table("Words (without it, the choice's log-probability falls by)", ("word", "influence"), words)
    if explanation.neighbours:
        near = [
            (query, ", ".join(names) or "(none)", f"{cosine:.2f}") for query, names, cosine in explanation.neighbours
        ]
        show_table("Nearest training queries", ("query", "tool", "cosine"), near)
    else:
        typer.echo("No training queries to compare with: this router was not trained.")


@app.command()
def tools(router: RouterFolder) -> None:
    """List the tools a router chooses from."""
    cards = _load_any(router).cards
    rows = [(card.name, ", ".join(card.properties) or "–", card.description) for card in cards]
    show_table(f"{len(rows)} tools", ("tool", "parameters", "description"), rows)


def _load_any(folder: str) -> Router | ExportedRouter:
    """A router that decides, exported or not; an exported one without loading torch."""
    from dspy_router.runtime.exported import ExportedRouter, is_exported

    return ExportedRouter.load(folder) if is_exported(folder) else _load(folder)


def _load(folder: str) -> Router:
    from dspy_router.routing.router import Router

    return Router.load(folder)


def _new_router(run: RunConfig) -> Router:
    from dspy_router.routing.catalogue import build_encoder
    from dspy_router.routing.router import Router

    encoder = build_encoder(run.encoder.name, **run.encoder.options)
    return Router.from_tools(_find_tools(run.tools), encoder=encoder, threshold=run.threshold)


def _find_tools(source: str) -> list[Any]:
    """The tools named by a file of cards, or by `module:attribute`."""
    from dspy_router.data.datasets import read_cards

    if ":" not in source or Path(source).exists():
        return list(read_cards(source))
    found = find_attribute(source, "tools")
    if not isinstance(found, Iterable):
        raise ValueError(f"tools: '{source}' must name a list of tools; it is {found!r:.60}.")
    return list(found)


for command in (calibrate, compare, distill, export, learn, rollback):
    app.command()(command)
app.add_typer(log_app, name="log")
