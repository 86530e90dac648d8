"""Looking at the controller: status, metrics, HTTP and the page."""

from pbal_controller.view.access import read_token
from pbal_controller.view.http import StatusServer, Streams
from pbal_controller.view.site import SiteView
from pbal_controller.view.status import summary_dict

__all__ = ["SiteView", "StatusServer", "Streams", "read_token", "summary_dict"]
