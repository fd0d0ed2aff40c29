"""The command line: parse, call a verb, print.

Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 the work failed
or the object does not exist, 2 wrong usage or a wrong definition, 3 the control
plane cannot be reached, 130 interrupted.
"""
