# Proves that a Catalyst application keeps its users' sessions through the proxy as it does in Redis
# itself. The application runs in processes of its own; what follows only knows its HTTP.
#
#   sessions  the life of a login, from the first visit to the refusal of its old cookie
#   restart   the server behind the proxy goes and comes back; the application stays, and loses nobody
use v5.36;

use FindBin;
use HTTP::Tiny;
use IO::Select;
use POSIX qw(WNOHANG _exit);
use Test::More;
use Time::HiRes qw(sleep time);

use constant NOBODY => '401 nobody';

# Without this, Perl would wait for them.
my @workers;
END { kill TERM => map { $_->{pid} } @workers }

my %flows = (sessions => \&sessions, restart => \&restart);
my $flow  = $flows{ $ARGV[0] // '' } or die "usage: run sessions|restart\n";
STDOUT->autoflush;
$flow->();
done_testing;

sub sessions {
    my ($first, @others) = map { start_worker() } 1 .. 3;
    my ($alice, $bob) = map { browser($first) } 1 .. 2;

    is ask($alice, 'GET', '/name'), NOBODY, 'a stranger is not logged in';
    ask($alice, 'POST', '/login?name=alice');
    is ask($alice, 'GET', '/name'), '200 alice', 'a login is remembered';

    my @visits = map { ask($alice, 'POST', '/visit') } 1 .. 20;
    is_deeply \@visits, [ map { "200 $_" } 1 .. 20 ], 'each of 20 requests in a row sees the write before it';

    ask($bob, 'POST', '/login?name=bob');
    is ask($bob, 'POST', '/visit'), '200 1', 'a second user has a session of his own';
    is ask($alice, 'POST', '/visit'), '200 21', "the first user's session is untouched by it";

    my @elsewhere = map { ask(browser($_, $alice->{cookie}), 'GET', '/name') } @others;
    is_deeply \@elsewhere, [ ('200 alice') x @others ], 'the other processes of the application know the login too';

    my $every_byte = join '', (map { chr } 0 .. 255), "\r\n\$-1\r\n*1\r\n+OK\r\n";
    ask($alice, 'PUT', '/note', $every_byte);
    ok ask($alice, 'GET', '/note') eq "200 $every_byte", 'a value of every byte, and of protocol, comes back as it was';
    my $large = join '', map { chr int rand 256 } 1 .. 100_000;
    ask($alice, 'PUT', '/note', $large);
    ok ask($alice, 'GET', '/note') eq "200 $large", 'a value of 100 KB comes back as it was';

    my @everywhere = ($first, @others) x 3;
    my @crowd      = map { browser($everywhere[$_], ($alice->{cookie}, $bob->{cookie}, undef)[ $_ / 3 ]) } 0 .. 8;
    is_deeply [ at_once(map { [ $_, 'GET', '/name' ] } @crowd) ], [ map { ($_) x 3 } '200 alice', '200 bob', NOBODY ],
        'each of 9 parallel requests is answered with its own session';
    my @guests = map { browser($_) } @everywhere;
    ask($guests[$_], 'POST', "/login?name=guest$_") for 0 .. 8;
    is_deeply [ at_once(map { [ $_, 'GET', '/name' ] } @guests) ], [ map { "200 guest$_" } 0 .. 8 ],
        '9 logins over 3 processes are 9 sessions';
    is_deeply [ at_once(map { [ $_, 'POST', '/visit' ] } @guests) ], [ ('200 1') x 9 ], 'and are written in parallel';
    is_deeply [ at_once(map { [ $_, 'POST', '/visit' ] } @guests) ], [ ('200 2') x 9 ], 'and again';

    ask($alice, 'POST', '/message?text=hello');
    is ask($alice, 'GET', '/message'), '200 hello', 'a flash is there for the next request';
    is ask($alice, 'GET', '/message'), '200 none', 'and for that one only';

    my $former = copy($alice);
    ask($alice, 'POST', '/change-id');
    isnt $alice->{cookie}, $former->{cookie}, 'the session id can be changed';
    is ask($alice, 'POST', '/visit'), '200 22', 'the data is found under the new id';
    ok ask($alice, 'GET', '/note') eq "200 $large", 'all of it';
    is ask($former, 'GET', '/name'), NOBODY, 'the old id is refused';
    ask($alice, 'PUT', '/note', 'short');
    is ask($alice, 'GET', '/note'), '200 short', 'a short value replaces a long one';

    my $stale = copy($alice);
    is ask($alice, 'POST', '/logout'), '200 bye', 'a user can log out';
    is ask(copy($stale), 'GET',  '/name'),  NOBODY, 'the cookie of a logged-out session is refused';
    is ask(copy($stale), 'POST', '/visit'), NOBODY, 'for a write too';
    is ask(browser($others[0], $stale->{cookie}), 'GET', '/name'), NOBODY, 'and by every process';
    is ask($bob, 'POST', '/visit'), '200 2', 'the other user is still logged in';
    ask($stale, 'POST', '/login?name=carol');
    is ask($stale, 'GET', '/name'), '200 carol', 'a browser with a stale cookie can log in again';
    is ask($stale, 'POST', '/visit'), '200 1', 'and starts anew';
    ok is_alive($_), 'a process of the application is the one it was' for $first, @others;
}

sub restart {
    my $worker = start_worker();
    my $alice  = browser($worker);
    ask($alice, 'POST', '/login?name=alice');
    ask($alice, 'PUT', '/note', 'kept');
    is ask($alice, 'GET', '/name'), '200 alice', 'a login is remembered';

    outage($alice, 'restart');
    is eventually($alice, 'GET', '/name'), '200 alice', 'after a restart of the server the session is served again';
    is ask($alice, 'GET', '/note'), '200 kept', 'with its data';
    ask($alice, 'PUT', '/note', 'new');
    is ask($alice, 'GET', '/note'), '200 new', 'and written again';
    my $bob = browser($worker);
    ask($bob, 'POST', '/login?name=bob');
    is ask($bob, 'GET', '/name'), '200 bob', 'and a new login works';

    outage($alice, 'stop');
    my $answer = ask($alice, 'GET', '/name');
    ok has_failed($answer) || $answer eq '200 alice', 'a request while the server is away logs nobody out';
    outage($alice, 'start');
    is eventually($alice, 'GET', '/name'), '200 alice', 'after it the session is served again';
    is ask($bob, 'GET', '/name'), '200 bob', 'and the other one';
    my $carol = browser($worker);
    ask($carol, 'POST', '/login?name=carol');
    is ask($carol, 'GET', '/name'), '200 carol', 'and a new login works';
    my $stale = copy($alice);
    ask($alice, 'POST', '/logout');
    is ask($stale, 'GET', '/name'), NOBODY, 'and so does a logout';
    ok is_alive($worker), 'the process of the application is the one it was';
}

# Has the server stopped, started or both, and goes on asking until that is done.
sub outage ($browser, $deed) {
    my $done = IO::Select->new(\*STDIN);
    say $deed;
    my @answers;
    push @answers, ask($browser, 'GET', '/name') until $done->can_read(0.1);
    defined <STDIN> or die "nobody is there to $deed the server\n";
    my @failed = grep { has_failed($_) } @answers;
    note scalar @failed, ' of ', scalar @answers, ' requests failed meanwhile';
    is_deeply [ grep { $_ ne '200 alice' && !has_failed($_) } @answers ], [], 'meanwhile nobody is logged out';
}

# The first answer that is not a failure of the application, at most 20 seconds from now.
sub eventually ($browser, @request) {
    my $start  = time;
    my $answer = ask($browser, @request);
    while (has_failed($answer) && time < $start + 20) {
        sleep 0.1;
        $answer = ask($browser, @request);
    }
    note sprintf '%s after %.2f s', has_failed($answer) ? 'given up' : 'served again', time - $start;
    return $answer;
}

# One user's browser at one process of the application.
sub browser ($worker, $cookie = undef) { return { worker => $worker, cookie => $cookie } }

# The same cookie in another hand, to be tried after this browser has been given a new one.
sub copy ($browser) { return {%$browser} }

# The answer, such as "200 alice".
sub ask ($browser, $method, $path, $body = undef) {
    state $http = HTTP::Tiny->new(timeout => 30, keep_alive => 0);
    my %headers = ('content-type' => 'application/octet-stream');
    $headers{cookie} = $browser->{cookie} if defined $browser->{cookie};
    my $url = "http://127.0.0.1:$browser->{worker}{port}$path";
    my $reply = $http->request($method, $url, { headers => \%headers, content => $body // '' });
    my $set   = $reply->{headers}{'set-cookie'};
    for my $cookie (ref $set ? @$set : $set // ()) {
        $browser->{cookie} = $cookie =~ s/;.*//sr;
    }
    my $answer = "$reply->{status} $reply->{content}";
    return has_failed($answer) ? $reply->{status} : $answer;
}

# 599 is a connection closed without an answer.
sub has_failed ($answer) { return $answer =~ /^5/ }

# The answers to requests that are all made at the same time.
sub at_once (@requests) {
    my @pipes = map {
        my $request = $_;
        my $pid = open(my $pipe, '-|') // die "cannot fork: $!";
        if (!$pid) {
            STDOUT->printflush(ask(@$request));
            _exit(0);
        }
        $pipe;
    } @requests;
    return map { my $pipe = $_; local $/; <$pipe> } @pipes;
}

sub start_worker {
    my @command = ('setpriv', '--pdeathsig', 'TERM', $^X, "-I$FindBin::Bin/lib", "$FindBin::Bin/app.pl");
    my $pid = open(my $output, '-|', @command) // die "cannot start the application: $!";
    my $port = <$output> // die "the application did not start\n";
    chomp $port;
    push @workers, { pid => $pid, port => $port, output => $output };
    return $workers[-1];
}

sub is_alive ($worker) { return waitpid($worker->{pid}, WNOHANG) == 0 }
