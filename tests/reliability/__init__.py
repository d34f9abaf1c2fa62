"""Every stage of a run and every command against every fault; ``docs/reliability.md`` is the table of these tests."""
