"""Looking at the controller: status, metrics, HTTP and the page."""

from pbal_controller.view.http import StatusServer, Streams
from pbal_controller.view.status import summary_dict

__all__ = ["StatusServer", "Streams", "summary_dict"]
