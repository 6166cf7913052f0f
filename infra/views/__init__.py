"""A plan or a stream of events in, text out."""
