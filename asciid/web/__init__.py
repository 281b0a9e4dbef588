"""
Web pages: what each shows, their templates, and the process that renders them.

``assets``      style sheet, scripts and icon
``pages``       the contents of each page, as plain values
``jobs``        what that process is asked for, and its answers
``renderer``    starts it, and gives it jobs
``renderings``  keeps what it made
``_markup``     the HTML of pages; only that process imports it
"""
