#!/bin/sh
# Start of a script that stands in for init: it holds the lock file, its last argument, as init does. The
# lock is the process's, so it outlives the exec.
if [ -z "$HOLDS_LOCK" ]; then
    for lock; do :; done
    HOLDS_LOCK=1 exec perl -e '
        $^F = 255;
        open(my $lock, "<", $ARGV[1]) or die "open $ARGV[1]: $!";
        my ($set_lock, $read_lock) = (6, 0);
        fcntl($lock, $set_lock, pack("ssx4qqlx4", $read_lock, 0, 0, 0, 0)) or die "lock $ARGV[1]: $!";
        exec "/bin/sh", $ARGV[0]' "$0" "$lock"
fi
unset HOLDS_LOCK
