# One worker process of the application, on a free port, which it prints.
use v5.36;

use Diary;
use HTTP::Server::PSGI;
use IO::Socket::INET;

my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => SOMAXCONN)
    or die "cannot listen: $@";
STDOUT->printflush($listener->sockport, "\n");
HTTP::Server::PSGI->new(listen_sock => $listener)->run(Diary->psgi_app);
