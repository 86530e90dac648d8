"""Starts the node. Runs after boot.py, which has switched the outputs off and offered the prompt.

Updates never touch this file, nor /lib with the module that chooses the application.
"""

import micropython

try:
    # MicroPython switches it on again for each file. An interrupt before this line is raised at
    # the next jump or wait, and is ignored: after this file comes the prompt.
    micropython.kbd_intr(-1)
    import time

    time.sleep_ms(0)
except KeyboardInterrupt:
    micropython.kbd_intr(-1)
del micropython, time

import gc  # noqa: E402

# Loading leaves garbage between objects that stay; collected late, it leaves a fragmented heap. A
# much lower threshold would cost seconds, as a collection takes 12 ms.
gc.threshold(16384)

try:
    from pbal_node.start import application

    main = application()
    del application
    gc.collect()
    gc.threshold(-1)
    main()
except Exception as e:
    # A program that is broken, or does not fit. Where the console is locked the chip restarts
    # instead of giving the prompt, and boot.py asks for the secret.
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
