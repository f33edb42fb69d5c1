# The application of app.pl, whose process is killed when it is about to give a session that it has written its expiry.
use v5.36;

use FindBin;
use Redis;

{
    no warnings 'once';
    *Redis::expire = sub ($redis, $key, @rest) {
        kill KILL => $$ if $key =~ /^session:/;
        return $redis->__std_cmd('expire', $key, @rest);
    };
}
do "$FindBin::Bin/app.pl" or die $@ || $!;
