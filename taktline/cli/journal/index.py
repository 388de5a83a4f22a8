"""`taktline journal index`."""

from __future__ import annotations

from rich.text import Text

from engines.errors import DataError
from taktline.cli.console import progress_bars, show, show_json
from taktline.cli.journal.options import JournalArgument
from taktline.cli.options import JsonFlag


def index(journal: JournalArgument, as_json: JsonFlag = False) -> None:
    """Make a journal of an earlier Taktline searchable. A line does so by itself while it runs.

    Example: taktline journal index runs/press4.journal
    """
    import sqlite3

    from pipeline.journal.history import History
    from pipeline.journal.indexing import index_journal

    with History(journal) as history:
        total = history.unsearched
    try:
        with progress_bars() as report:
            count = index_journal(journal, lambda done: report("verdicts", done, total, ""))
    except sqlite3.Error as error:
        raise DataError(f"{journal} cannot be made searchable ({error})") from error
    if as_json:
        show_json({"indexed": count})
    else:
        show(Text(f"{count} verdicts were made searchable" if count else "all verdicts could be searched already"))
