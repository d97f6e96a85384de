"""The node's side: takes assignments over one stream, makes them true through drivers, reports."""
