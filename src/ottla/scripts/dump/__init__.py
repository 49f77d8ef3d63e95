"""What `scripts/dump-log.sh` prints, by kind of file."""
