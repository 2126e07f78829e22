"""The command line: dspy-router demo | train | evaluate | route | explain | tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

if TYPE_CHECKING:
    from dspy_router.config import RunConfig
    from dspy_router.evaluation.metrics import Evaluation, OptionScores
    from dspy_router.records import Decision
    from dspy_router.routing.router import Router

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
        _print_figures(score(router, val), f"Validation: {', '.join(run.data.val)}")
    typer.echo(f'Saved the router to {run.output}. Next: dspy-router route {run.output} "your text"')


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

    result = score(_load(router), read_examples(*data))
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    _print_scores(result)
    _print_figures(result, ", ".join(data))


@app.command()
def route(
    router: RouterFolder, text: Annotated[str, typer.Argument(help="What to decide on.")], as_json: AsJson = False
) -> None:
    """Decide which tool a text asks for."""
    decision = _load(router).decide(text)
    if as_json:
        typer.echo(json.dumps({**decision.to_dict(), "confidence": decision.confidence}, ensure_ascii=False))
    else:
        _print_decision(decision)


@app.command()
def explain(router: RouterFolder, text: Query, as_json: AsJson = False) -> None:
    """Show why: the closest rivals, the words that moved the decision, the nearest training queries."""
    explanation = _load(router).explain(text)
    if as_json:
        typer.echo(json.dumps(explanation.to_dict(), ensure_ascii=False))
        return
    _print_decision(explanation.decision)
    words = [(word, f"{influence:+.2f}") for word, influence in explanation.words]
    _print_table("Words (without it, the choice's log-probability falls by)", ("word", "influence"), words)
    if explanation.neighbours:
        near = [
            (query, ", ".join(names) or "(none)", f"{cosine:.2f}") for query, names, cosine in explanation.neighbours
        ]
        _print_table("Nearest training queries", ("query", "tool", "cosine"), near)
    else:
        typer.echo("No training queries to compare with: this router was not trained.")


@app.command()
def tools(router: RouterFolder) -> None:
    """List the tools a router chooses from."""
    cards = _load(router).cards
    rows = [(card.name, ", ".join(card.properties) or "–", card.description) for card in cards]
    _print_table(f"{len(rows)} tools", ("tool", "parameters", "description"), rows)


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
    from importlib import import_module

    from dspy_router.data.datasets import read_cards

    module, colon, attribute = source.partition(":")
    if not colon or Path(source).exists():
        return list(read_cards(source))
    if str(Path.cwd()) not in sys.path:  # an installed script does not see the working directory's modules by itself
        sys.path.insert(0, str(Path.cwd()))
    found = getattr(import_module(module), attribute, None)
    if not isinstance(found, Iterable):
        raise ValueError(f"tools: '{source}' must name a list of tools; '{attribute}' in '{module}' is {found!r:.60}.")
    return list(found)


def _print_table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # as it is: what a tool says is no markup
    Console().print(Text(title, style="bold"), table, sep="\n")


def _print_decision(decision: Decision) -> None:
    sure = "accepted" if decision.accepted else "not sure enough"
    rows = [(name or "(none)", _share(probability)) for name, probability in decision.top(5)]
    _print_table(f"{decision.tool or '(none)'}: {_share(decision.confidence)}, {sure}", ("option", "probability"), rows)


def _print_scores(result: Evaluation) -> None:
    """The options that were right or chosen, the worst first."""
    scores: list[tuple[str, OptionScores]] = [*result.per_tool.items(), ("(none)", result.none)]
    seen = [(name, score) for name, score in scores if score.support or score.precision is not None]
    rows = [
        (name, _share(score.precision), _share(score.recall), _share(score.f1), score.support)
        for name, score in sorted(seen, key=lambda pair: pair[1].f1)
    ]
    _print_table("Per tool, worst first", ("tool", "precision", "recall", "F1", "support"), rows)


def _print_figures(result: Evaluation, title: str) -> None:
    low, high = result.interval
    rows = [
        ("examples", str(result.n)),
        ("accuracy", f"{_share(result.accuracy)} (95 % interval {_share(low)} to {_share(high)})"),
        ("macro-F1", _share(result.macro_f1)),
        *((f"right among the first {k}", _share(share)) for k, share in result.top_k.items() if k > 1),
        ("none: recall", _share(result.none.recall)),
        ("none: AUROC", _share(result.none_auroc)),
        ("calibration error", _share(result.calibration_error)),
        ("Brier score", f"{result.brier:.4f}"),
        ("accepted", _share(result.coverage)),
        ("accuracy of the accepted", _share(result.accepted_accuracy)),
        ("ms per decision", ", ".join(f"{name} {value:.2f}" for name, value in result.latency_ms.items())),
    ]
    _print_table(title, ("figure", "value"), rows)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


if __name__ == "__main__":
    main()
