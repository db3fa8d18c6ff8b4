"""Changes on the way: requests to requests by an operator's rules, and events to events."""
