"""The results of nightly runs: as JSON for programs, and as great-expectations' data docs, a site of HTML files that asks nobody.

The pages that it builds fetch styles and scripts from half a dozen hosts, and a picture whose address tells its maker who looks. These
are taken out (:mod:`jobs.quality.pages`), and the first page, a frame for scripts, is ours.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra import files
from infra.config import Settings
from jobs.quality import pages

if TYPE_CHECKING:
    from jobs.quality.nightly import SuiteRun, Tally

#: Runs whose results are kept.
KEPT = 60
_SITE = "local_site"
_STAMP = "%Y%m%dT%H%M%S.%fZ"


def folder(settings: Settings) -> Path:
    """Where results lie."""
    return settings.path(settings.paths.var) / "quality"


def page(settings: Settings) -> Path:
    """The first page of the site."""
    return folder(settings) / "docs" / "index.html"


@cache
def scratch() -> Any:
    """A context of great-expectations that keeps nothing."""
    from jobs.quality.gxlib import gx

    return _quiet(gx.get_context(mode="ephemeral"))


def store(settings: Settings, runs: Sequence[SuiteRun], now: datetime) -> Path:
    """Keep the results of a run as JSON, and build their pages; the first page.

    Parameters
    ----------
    settings
        ``paths.var``: they lie in ``quality`` below it.
    runs
        What was found, one a suite.
    now
        Of the run.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    place = folder(settings)
    (place / "runs").mkdir(parents=True, exist_ok=True)
    told = [{"at": now.isoformat(), **run.as_dict(), "page": _page(run, now)} for run in runs]
    files.replace(place / "runs" / f"{now:{_STAMP}}.json", json.dumps(told, indent=1))
    kept = sorted((place / "runs").glob("*.json"), reverse=True)
    for old in kept[KEPT:]:
        old.unlink(missing_ok=True)
    context = _context(place)
    keys = [key for run in runs for key in _kept(context, run, now)]
    _forget(context)
    context.build_data_docs(resource_identifiers=keys)
    for built in (place / "docs").rglob("*"):
        if built.suffix in (".html", ".css"):
            pages.alone(built)
    lines = (line for run in kept[:KEPT] for line in json.loads(run.read_text(encoding="utf-8")))
    files.replace(page(settings), pages.index(lines))
    return page(settings)


def _page(run: SuiteRun, now: datetime) -> str:
    """Where great-expectations puts the page of a result, from the first page."""
    return f"validations/{run.name.replace('.', '/')}/{run.day}/{now:{_STAMP}}/{run.day}.html"


def _kept(context: Any, run: SuiteRun, now: datetime) -> list[Any]:
    """Put the suite and its result into the context's stores; the keys of their pages."""
    from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import ExpectationSuiteIdentifier, ValidationResultIdentifier

    results = [_result(one) for one in run.found]
    context.suites.add_or_update(ExpectationSuite(run.name, expectations=[one.expectation_config for one in results]))
    good = sum(one.success for one in run.found)
    statistics = {
        "evaluated_expectations": len(results),
        "successful_expectations": good,
        "unsuccessful_expectations": len(results) - good,
        "success_percent": 100 * good / len(results) if results else None,
    }
    about = RunIdentifier(run_name=f"{run.day}", run_time=now)
    key = ValidationResultIdentifier(ExpectationSuiteIdentifier(run.name), about, f"{run.day}")
    meta = {"run_id": about, "active_batch_definition": {"datasource_name": run.stage, "data_asset_name": f"{run.rows:,} rows"}}
    told = ExpectationSuiteValidationResult(success=not run.failed, results=results, suite_name=run.name, statistics=statistics, meta=meta)
    context.validation_results_store.add_or_update(key, told)
    return [ExpectationSuiteIdentifier(run.name), key]


def _result(found: Tally) -> Any:
    """What one expectation came to, as great-expectations would have said it of all rows at once."""
    from great_expectations.core import ExpectationValidationResult

    counted = found.elements - found.nulls
    result = {
        "element_count": found.elements,
        "missing_count": found.nulls,
        "missing_percent": 100 * found.nulls / found.elements if found.elements else 0.0,
        "unexpected_count": found.unexpected,
        "unexpected_percent": 100 * found.unexpected / counted if counted else 0.0,
        "partial_unexpected_list": [_shown(value) for value in found.values],
    }
    message = html.escape(found.error) if found.error else None
    error = {"raised_exception": bool(found.error), "exception_message": message, "exception_traceback": None}
    return ExpectationValidationResult(
        success=found.success, expectation_config=found.config, result=result if found.elements else {}, exception_info=error
    )


def _shown(value: Any) -> Any:
    """A value for the pages: great-expectations puts it into them as it is, and whoever sends packets may have chosen it."""
    return html.escape(value) if isinstance(value, str) else value


def _context(place: Path) -> Any:
    from jobs.quality.gxlib import gx

    context = _quiet(gx.get_context(mode="file", project_root_dir=str(place)))
    store_backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(place / "docs")}
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": store_backend,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
    }
    if context.variables.data_docs_sites.get(_SITE) != site:
        context.update_data_docs_site(site_name=_SITE, site_config=site)
    return context


def _forget(context: Any) -> None:
    """Results beyond :data:`KEPT` of each suite, the oldest first."""
    by_suite: dict[str, list[Any]] = {}
    for key in context.validation_results_store.list_keys():
        by_suite.setdefault(str(key.expectation_suite_identifier), []).append(key)
    for keys in by_suite.values():
        for key in sorted(keys, key=lambda key: str(key.run_id.run_time))[:-KEPT]:
            context.validation_results_store.remove_key(key)


def _quiet(context: Any) -> Any:
    """Without progress bars of its own, and without telling its maker who uses it."""
    context.variables.progress_bars = {"globally": False}
    context.variables.analytics_enabled = False
    return context
