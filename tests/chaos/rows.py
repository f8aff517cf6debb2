"""All rows of the fault matrix, in the order of the table in docs/reliability.md."""

from chaos import rows_processes
from chaos.row import Row

GROUPS: dict[str, tuple[Row, ...]] = {"processes": rows_processes.ROWS}
