"""All rows of the fault matrix, in the order of the table in docs/reliability.md."""

from chaos import rows_destinations, rows_disk, rows_processes, rows_service, rows_spool
from chaos.row import Row

GROUPS: dict[str, tuple[Row, ...]] = {
    "processes": rows_processes.ROWS,
    "steps": rows_processes.STEPS,
    "disk": rows_disk.ROWS,
    "spool": rows_spool.ROWS,
    "service": rows_service.ROWS,
    "destinations": rows_destinations.ROWS,
}
