"""What servers remember of an app: records, releases, an audit log, backups."""
