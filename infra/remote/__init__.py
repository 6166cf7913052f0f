"""The only place that talks SSH, and the only place that quotes shell."""
