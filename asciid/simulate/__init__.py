"""
A load generator and test: many clients against a server, every step checked.

``_simulation``  runs the plan
``_steps``       the steps of one image, each checked
``_plan``        the amount of work, and the injected faults
``_schedule``    the rate at which images start
``_tally``       counts and times the operations
``_summary``     the results for programs
``_screen``      the results as a table, live on a terminal (rich)
``_report``      chooses the outputs of log and table
``_requests``    requests to one server, on treq
``_art``         figlet art
``_log``         log lines in logrus's formats
"""

from asciid.simulate._art import Gallery, NoFigletError
from asciid.simulate._log import FORMATS, Level, Log
from asciid.simulate._plan import ONE_FAULT_IN, Plan, pieces
from asciid.simulate._report import Report
from asciid.simulate._requests import MAX_CONNECTIONS, Requests
from asciid.simulate._simulation import CHUNKS_IN_FLIGHT, Simulation

__all__ = [
    "CHUNKS_IN_FLIGHT",
    "FORMATS",
    "MAX_CONNECTIONS",
    "ONE_FAULT_IN",
    "Gallery",
    "Level",
    "Log",
    "NoFigletError",
    "Plan",
    "Report",
    "Requests",
    "Simulation",
    "pieces",
]
