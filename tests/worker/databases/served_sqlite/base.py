"""SQLite behind a port: it can hang or refuse without the driver of a server."""

import socket
from typing import Any

from django.db import OperationalError
from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect once the server at HOST and PORT has said something."""
        address = (self.settings_dict["HOST"], int(self.settings_dict["PORT"]))
        try:
            with socket.create_connection(address) as server:
                server.recv(1)
        except OSError as error:
            raise OperationalError(str(error)) from error
        return super().get_new_connection(conn_params)
