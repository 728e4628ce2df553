"""Groups that other API servers answer for: APIServices, their state, and the way of a request to them."""
