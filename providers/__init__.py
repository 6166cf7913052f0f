"""What exists on a server, one file per resource type. Pure: values in, shell fragments and commands out."""
