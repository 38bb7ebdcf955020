#!/bin/sh
# PID 1 of new namespaces: make the folder $1 a machine of its own, and give it to its systemd.
set -e
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs dev -o mode=755
for node in null zero full random urandom tty; do
  touch "dev/$node"
  mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/shm dev/pts old
mount -t tmpfs tmpfs dev/shm
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t cgroup2 cgroup2 sys/fs/cgroup
hostname npud-test
pivot_root . old
exec chroot . /bin/sh -c 'umount -l /old && rmdir /old && export container=npud-test &&
  exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=0 </dev/null'
