"""Starts the node. Runs after boot.py, which has put the outputs off and left a way in.

Updates never touch this file, nor /lib, from which it takes what chooses the application.
"""

import micropython

try:
    # MicroPython switches it on again for each file. An interrupt before this line is raised at
    # the next jump or wait, and counts for nothing: behind this file lies the prompt.
    micropython.kbd_intr(-1)
    import time

    time.sleep_ms(0)
except KeyboardInterrupt:
    micropython.kbd_intr(-1)
del micropython, time

import gc  # noqa: E402

# Loading leaves garbage between what stays; collected late, it leaves a heap full of holes. Much
# less than this takes seconds, a collection being 12 ms.
gc.threshold(16384)

try:
    from pbal_node.start import application

    main = application()
    del application
    gc.collect()
    gc.threshold(-1)
    main()
except Exception as e:
    # A program that is broken, or does not fit. Where the console is locked it is not the prompt
    # that follows but the next start, at which boot.py asks for the secret.
    import os
    import sys

    sys.print_exception(e)
    try:
        os.stat("/cfg/console.json")
        locked = True
    except OSError as gone:
        locked = gone.errno != 2  # no such file
    if locked:
        import time

        import machine

        time.sleep(10)
        machine.reset()
