"""The command line: the only place that knows Typer. One file a command group; app.py puts them together."""
