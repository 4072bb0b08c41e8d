"""`python -m geqlib.cli` is the `geqlib` command."""

from geqlib.cli import main

raise SystemExit(main())
