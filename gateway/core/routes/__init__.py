"""Which requests exist: the route table and the one way to find a row in it.

Closed by default: a path without a row is a 404, because a new paid endpoint would otherwise escape every limit.
"""

from gateway.core.routes.match import is_hello, match, query_of, refuse_odd_path
from gateway.core.routes.route import Body, Matched, Repeat, Route, Weigh
from gateway.core.routes.table import ROUTES

__all__ = ["ROUTES", "Body", "Matched", "Repeat", "Route", "Weigh", "is_hello", "match", "query_of", "refuse_odd_path"]
