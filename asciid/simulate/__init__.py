"""
A simulation: many clients against a server, each step of which is checked.

``_simulation``  what a simulation does with a server
``_steps``       the steps of one image, each checked
``_plan``        how much there is to do, and what goes wrong on purpose
``_schedule``    when images begin
``_tally``       how often and how fast each step went well
``_summary``     that as a value for programs
``_screen``      that as a table, and live on a terminal (rich)
``_report``      where the log and the table go
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
