"""Updates on a real file system: a power cut at every block operation from the first chunk to the
confirmation leaves an application that runs, and the update goes on where it was.
"""

import asyncio
import os

import scenarios_trials
import support
from updating import DEVICE, NEW, App, Controller, Log, boot, install, manifest, remount, run

from pbal_node import start
from pbal_protocol import records

delivery = support.own("pbal_node", "delivery")
ota = support.own("pbal_protocol", "ota")
KEY = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
SIGNED = bytes.fromhex(
    "c61601400f5b800f5789a595ea89817330843fb54a17a8286c0319717da615ea"
    "1c49b119cedebcc74c1a50bc9a2ae4508cb433c76bb8bd13166ba634e89b4007"
)


def whole_update(controller):
    """One life of the node: as far as it gets. Returns the slot that is confirmed."""
    slot, place = boot()
    if place.on_trial and not place.prove(60000, 2000, True, True, Log().emit):
        assert DEVICE.dead
        raise OSError
    if slot and place.s[0] == slot:
        return slot

    async def work(updater, app):
        s = await controller.bring(updater)
        if s.stage != 3:
            assert DEVICE.dead, s  # it gave up because the flash is gone
            raise OSError
        updater.slots.begin_trial(updater.slot, True)

    run(place, work)
    return 0


def every_cut_resumes_and_ends_in_the_new_application():
    image = install()
    controller = Controller(NEW)
    n = 0
    cuts = 0
    most = 0
    full = len(controller.stream) - len(NEW["pbal_node/same.mpy"])
    while True:
        DEVICE.data[:] = image
        remount()
        DEVICE.cut_after = n
        controller.sent = 0
        lives = 0
        cut = False
        while True:
            lives += 1
            assert lives < 8
            try:
                done = whole_update(controller)
            except OSError:
                done = 0
            if DEVICE.dead:
                assert not cut
                cut = True
                remount()
                # At any instant something whole is there to run.
                slot, place = boot()
                if slot:
                    assert start._whole(slot)
                assert place.s[2] in (0, 1) and place.s[0] in (0, 1)
                continue
            if done:
                break
        for path in NEW:
            with open("/app/a/" + path, "rb") as f:
                assert f.read() == NEW[path], path
        most = max(most, controller.sent)
        cuts += cut
        if not cut:
            break
        n += 1
    # Nothing that was on flash is sent again: at most what was not yet written, and one file
    # that was being closed.
    print("  cuts", cuts, "stream", full, "most sent", most)
    assert cuts > 40
    assert controller.sent == full
    assert most <= full + 2 * 1024


def unsigned_foreign_old_and_large_ones_are_refused():
    install()
    for controller, why in (
        (Controller(NEW, signature=b"evil" * 16), 2),
        (Controller(NEW, manifest(NEW, boards="2 3")), 4),
        (Controller(NEW, manifest(NEW, version="0.1.0")), 5),
        (Controller(NEW, manifest(NEW, version="0.0.9")), 5),
        (Controller(NEW, b"pbal-app 1\nversion 1\n"), 3),
        (Controller(NEW, b"x" * 300), 3),
        (Controller(NEW, manifest(NEW).replace(b"pbal_node/app", b"pbal_node/..")), 3),
        (Controller(NEW, manifest(NEW).replace(b"pbal_node/app", b"boot/pbal_app")), 3),
        (Controller(NEW, manifest(NEW)[:-40]), 3),
        (Controller(NEW, manifest(NEW).replace(b"files 4 ", b"files 4 90")), 6),
    ):
        _slot, place = boot()

        async def work(updater, app, controller=controller, why=why):
            s = await controller.bring(updater)
            assert (s.stage, s.why) == (7, why), (s, why)
            assert app.log.seen == [(19, why, 1)], app.log.seen
            assert updater.order(records.Update(op=4, data=controller.digest[:8])) != 0

        run(place, work)
        assert boot()[0] == 0
        assert sorted(os.listdir("/lib/pbal_node")) == ["app.mpy", "same.mpy"]


def downgrades_need_a_signature_that_says_so():
    install()
    _slot, place = boot()

    async def work(updater, app):
        old = Controller(NEW, manifest(NEW, version="0.0.9", extra="downgrade\n"))
        assert (await old.bring(updater)).stage == 3

    run(place, work)


def only_the_release_key_signs():
    """The node's own check. KEY is the public key of the private one 00 01 .. 1f (RFC 8032), SIGNED
    its signature of `ota.signed` over the digest of manifest(NEW), by another implementation.
    """
    for signature, stage, why in (
        (SIGNED, 3, 0),
        (SIGNED[:-1] + b"\x01", 7, 2),
        (b"\x00" + SIGNED[1:], 7, 2),
        (b"good" * 16, 7, 2),
    ):
        install()
        _slot, place = boot()

        async def main(place=place, signature=signature):
            updater = App().updater(place, KEY)
            task = asyncio.create_task(updater.run())
            s = await Controller(NEW, signature=signature).bring(updater)
            task.cancel()
            return s.stage, s.why

        assert asyncio.run(main()) == (stage, why), signature
        assert ("app" in os.listdir("/")) == (stage == 3)


def no_key_no_update():
    install()
    _slot, place = boot()

    async def main():
        updater = App().updater(place, b"")
        task = asyncio.create_task(updater.run())
        s = await Controller(NEW).bring(updater)
        task.cancel()
        assert (s.stage, s.why) == (7, 1), s

    asyncio.run(main())
    assert "app" not in os.listdir("/")


def a_flipped_bit_is_asked_for_again_and_then_refused():
    install()
    _slot, place = boot()

    async def work(updater, app):
        c = Controller(NEW)
        good = c.stream
        c.stream = good[:-1] + bytes([good[-1] ^ 1])
        s = await c.bring(updater)
        assert (s.stage, s.why) == (7, 7), s
        # The same release again is still refused, until somebody says abort.
        c.stream = good
        assert (await c.bring(updater)).stage == 7
        updater.order(records.Update(op=5, data=c.digest[:8]))
        while updater.status().stage != 0:
            await asyncio.sleep_ms(0)
        assert (await c.bring(updater)).stage == 3

    run(place, work)


def stray_chunks_change_nothing():
    install()
    _slot, place = boot()

    async def work(updater, app):
        c = Controller(NEW)
        s = await c.bring(updater, (2,))
        here = s.next
        for at in (here + 1, here + 500, 4000000000):
            updater.order(records.Update(op=2, at=at, data=b"x" * 200))
        assert updater.status().next == here
        piece = c.stream[here : here + 150]
        updater.order(records.Update(op=2, at=here, data=piece))
        assert updater.status().next == here + 150
        # A repeated chunk with more behind it gives only what is new.
        updater.order(records.Update(op=2, at=here, data=c.stream[here : here + 200]))
        assert updater.status().next == here + 200
        assert (await c.bring(updater)).stage == 3

    run(place, work)


def another_release_takes_the_place_of_an_unfinished_one():
    install()
    _slot, place = boot()

    async def work(updater, app):
        first = Controller(NEW)
        await first.bring(updater, (2,))
        while delivery.size_of("/app/a/pbal_node/deep/more.mpy") < 0:
            s = updater.status()
            if s.want:
                piece = first.stream[s.next : s.next + min(200, s.want)]
                updater.order(records.Update(op=2, at=s.next, data=piece))
            await asyncio.sleep_ms(0)
        other = dict(NEW)
        other["pbal_node/app.mpy"] = b"another"
        del other["pbal_node/deep/more.mpy"]
        second = Controller(other, manifest(other, version="0.3.0"))
        assert (await second.bring(updater)).stage == 3
        assert updater.status().digest == second.digest[:8]
        with open("/app/a/pbal_node/app.mpy", "rb") as f:
            assert f.read() == b"another"
        assert "deep" not in os.listdir("/app/a/pbal_node")  # nothing of the first is left

    run(place, work)


def the_commit_waits_while_contacts_move():
    install()
    _slot, place = boot()

    async def work(updater, app):
        c = Controller(NEW)
        await c.bring(updater)
        app.selector.busy = True
        updater.order(records.Update(op=4, data=c.digest[:8]))
        await asyncio.sleep_ms(20)
        s = updater.status()
        assert (s.stage, s.why) == (3, 9) and place.s[2] == 0, s
        assert updater.order(records.Update(op=4, data=b"another!")) != 0
        app.selector.busy = False
        updater.order(records.Update(op=4, data=c.digest[:8]))
        await asyncio.sleep_ms(20)
        assert updater.status().stage == 4 and place.s[2] == 1
        assert (17, 0x100, 0x200) in app.log.seen

    run(place, work)


def the_same_parser_as_the_makers():
    head = ota.Head()
    lines = manifest(NEW).decode().split("\n")
    rest = [line for line in lines if line and not head.line(line)]
    assert head.files == len(rest) == 4 and head.version == 0x200


support.run(
    [
        every_cut_resumes_and_ends_in_the_new_application,
        unsigned_foreign_old_and_large_ones_are_refused,
        downgrades_need_a_signature_that_says_so,
        only_the_release_key_signs,
        no_key_no_update,
        a_flipped_bit_is_asked_for_again_and_then_refused,
        stray_chunks_change_nothing,
        another_release_takes_the_place_of_an_unfinished_one,
        the_commit_waits_while_contacts_move,
        the_same_parser_as_the_makers,
    ]
    + scenarios_trials.SCENARIOS
)
