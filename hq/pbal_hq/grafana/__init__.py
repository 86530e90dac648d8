"""Who reads what in Grafana.

access     the users of the database: one of the whole fleet, and one for each area
areas.sql  the tables of the dashboards as an area's user sees them: views of the same names
"""

from pbal_hq.grafana.access import USER, area, provisioning, user_of, whole

__all__ = ["USER", "area", "provisioning", "user_of", "whole"]
