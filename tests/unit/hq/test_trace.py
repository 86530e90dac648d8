"""The alarm's page shows the ids by which the logs of site and HQ are searched."""

import pytest
from rigs import people

from pbal_hq import alarms
from pbal_hq.errors import NothingToDo


async def test_the_alarm_page_has_the_trace_of_its_events(database_url):
    async with people.connected(database_url) as conn, people.portal(database_url) as client:
        fleet = await people.make(conn)
        await people.event(conn, fleet, "T1", trace="5f1c0d8a2b3e4f60")
        await people.event(conn, fleet, "T2", trace="0000000000000bad")
        while await alarms.take_events(conn):
            pass
        found = await conn.execute(
            "SELECT x.alarm_id FROM alarm_event x JOIN event e USING (site_id, event_id)"
            " WHERE e.trace = '5f1c0d8a2b3e4f60'"
        )
        ((alarm,),) = await found.fetchall()
        _, access = await people.who(conn, "operator-whole")
        client.cookies.set("__Host-pbal", access)
        page = await client.get(f"/alarms/{alarm}")
        assert page.status_code == 200
        assert "5f1c0d8a2b3e4f60" in page.text
        assert "0000000000000bad" not in page.text
        # Who may not see the alarm does not see where to look for it.
        who, _ = await people.who(conn, "operator-t2")
        with pytest.raises(NothingToDo):
            await alarms.traces(conn, who, alarm)
