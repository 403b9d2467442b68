"""What all tests have in common."""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # time proves nothing
settings.load_profile("tests")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background makes us deaf to Ctrl-C, and with us the commands that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
