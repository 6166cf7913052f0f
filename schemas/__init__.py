"""What a file may say: the JSON Schemas of the manifest and of the plan, and their loader."""
