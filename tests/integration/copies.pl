# One process of an application: calls the server as the old PHP and Perl libraries do. For each call it opens a
# connection, writes the frame several times, reads once and closes. It prints one line for each call that failed.
# Arguments: port, number of calls, copies of each frame, then the frame's body.
use strict;
use warnings;
use IO::Socket::INET;

my ($port, $calls, $copies, $body) = @ARGV;
my $frame = sprintf('%04d%s', length $body, $body);
for my $number (1 .. $calls) {
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 30)
        or do { print "no connection: $!\n"; next };
    syswrite($socket, $frame) for 1 .. $copies;
    my $got = sysread($socket, my $answer, 8192);
    my $whole = defined $got && $got >= 4 && substr($answer, 0, 4) == $got - 4;
    print defined $got ? "not one answer: $answer\n" : "no answer: $!\n" unless $whole && $answer =~ /"status":"ok"/;
    close $socket;
}
