"""Whether PostgreSQL gets rid of the pieces of its log, which fill its disk else."""

FAILS = (
    "(SELECT current_setting('archive_mode') <> 'off'"
    " AND coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false)"
    " FROM pg_stat_archiver)"
)
"""An expression that any role may ask: true from a failure until a piece is archived again."""
