# Attacks on the sandbox, from inside: a table of what a process of an app must not be able to do. Each attack returns
# something true if it succeeded, and otherwise nothing, or raises. Run as a program it prints what succeeded.

require "io/wait"
require "json"
require "socket"

module Attacks
  REFUSED = [Errno::EPERM, Errno::ENOSYS, Errno::EACCES, Errno::EAFNOSUPPORT].freeze
  OTHER = [SystemCallError, SocketError, IOError, ArgumentError].freeze
  PATIENCE = 15

  # Calls by their number on x86-64, with arguments that are harmless if the kernel gets to see them. Any other error
  # than a refusal means that it did.
  CALLS = {
    "io_setup" => 206, "io_destroy" => 207, "io_getevents" => 208, "io_submit" => 209, "io_cancel" => 210,
    "io_pgetevents" => 333, "io_uring_setup" => 425, "io_uring_enter" => 426, "io_uring_register" => 427,
    "add_key" => 248, "request_key" => 249, "keyctl" => 250, "userfaultfd" => 323, "kcmp" => 312,
    "process_vm_readv" => 310, "process_vm_writev" => 311, "process_madvise" => 440, "pidfd_getfd" => 438,
    "name_to_handle_at" => 303, "open_by_handle_at" => 304, "ptrace" => 101, "bpf" => 321, "perf_event_open" => 298,
    "mount" => 165, "umount2" => 166, "pivot_root" => 155, "chroot" => 161, "swapon" => 167, "swapoff" => 168,
    "fsopen" => 430, "fsconfig" => 431, "fsmount" => 432, "fspick" => 433, "open_tree" => 428, "move_mount" => 429,
    "mount_setattr" => 442, "statmount" => 457, "listmount" => 458, "open_tree_attr" => 467,
    "reboot" => 169, "sethostname" => 170, "setdomainname" => 171, "iopl" => 172, "ioperm" => 173,
    "init_module" => 175, "delete_module" => 176, "finit_module" => 313, "kexec_load" => 246,
    "kexec_file_load" => 320, "quotactl" => 179, "quotactl_fd" => 443, "acct" => 163, "settimeofday" => 164,
    "clock_settime" => 227, "adjtimex" => 159, "clock_adjtime" => 305, "syslog" => 103, "vhangup" => 153,
    "lookup_dcookie" => 212, "uselib" => 134, "ustat" => 136, "sysfs" => 139, "_sysctl" => 156, "modify_ldt" => 154,
    "mbind" => 237, "set_mempolicy" => 238, "migrate_pages" => 256, "move_pages" => 279,
    "set_mempolicy_home_node" => 450, "setns" => 308, "fanotify_init" => 300, "fanotify_mark" => 301,
    "memfd_secret" => 447, "lsm_set_self_attr" => 460, "setpriority" => 141, "ioprio_set" => 251,
    "sched_setparam" => 142, "sched_setscheduler" => 144, "sched_setaffinity" => 203, "sched_setattr" => 314,
    "setrlimit" => 160, "nfsservctl" => 180, "afs_syscall" => 183, "remap_file_pages of the x32 table" => 0x40000000 + 216,
    "getpid of the x32 table" => 0x40000000 + 39, "a call that nobody knows" => 999,
  }.freeze

  NAMESPACES = {
    "user" => 0x10000000, "mount" => 0x00020000, "network" => 0x40000000, "process" => 0x20000000, "ipc" => 0x08000000,
    "hostname" => 0x04000000, "cgroup" => 0x02000000, "time" => 0x00000080,
  }.freeze

  FAMILIES = (0..45).to_a - [Socket::AF_UNIX, Socket::AF_INET, Socket::AF_INET6]

  WRITES = %w[
    / /app /bin /boot /dev /etc /etc/cron.d /etc/dyno /etc/profile.d /etc/ssh /etc/sudoers.d /etc/systemd/system
    /home /lib /media /mnt /opt /root /run /run/dynoctl /run/lock /run/systemd /run/systemd/journal
    /run/systemd/system /run/user /sbin /srv /srv/dyno /sys /sys/fs/cgroup /usr /usr/lib /usr/local/bin /var
    /var/cache /var/lib /var/lib/dynoctl /var/lib/dynoctl-router /var/lib/dynoctl-volumes /var/log /var/log/journal
    /var/spool/cron /var/www /proc /proc/sys/kernel /app/.dynoctl
  ].freeze

  LISTS = %w[
    /etc/dyno /etc/dynoctl /etc/systemd /etc/ssl/private /root /home /run/dynoctl /run/systemd/transient
    /run/systemd/system /run/systemd/units /run/systemd/generator /run/dbus /run/lock /srv/dyno
    /sys/fs/cgroup /var/lib/dynoctl /var/lib/dynoctl-router /var/lib/dynoctl-volumes /var/lib/private
    /var/log /var/spool/cron/crontabs /proc/1/fd /proc/1/root /proc/1/ns
  ].freeze

  READS = %w[
    /etc/shadow /etc/gshadow /etc/sudoers /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_rsa_key /etc/machine-id.x
    /proc/1/environ /proc/1/cmdline /proc/1/maps /proc/1/mem /proc/kcore /proc/kmsg /proc/keys /proc/key-users
    /proc/cmdline /proc/config.gz /proc/modules /proc/slabinfo /proc/sched_debug
    /proc/timer_list /proc/vmallocinfo /proc/locks
    /dev/mem /dev/kmem /dev/port /dev/kmsg /dev/sda /dev/vda /dev/nvme0n1 /dev/loop-control /dev/loop0 /dev/fuse
    /dev/net/tun /dev/kvm /dev/rtc0 /dev/uinput /dev/mapper/control /dev/vsock /dev/vhost-net /dev/tty1
    /var/log/syslog /var/log/auth.log /var/log/wtmp /var/log/lastlog /run/utmp /run/utmp.x /run/systemd/private
  ].freeze

  OVERWRITES = %w[
    /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/kernel/modprobe /proc/sys/vm/overcommit_memory
    /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/yama/ptrace_scope /proc/sysrq-trigger /proc/self/uid_map
    /proc/self/gid_map /proc/self/setgroups /proc/1/oom_score_adj /proc/1/mem /sys/kernel/uevent_helper
    /sys/power/state /sys/kernel/mm/transparent_hugepage/enabled /etc/passwd /etc/hosts /etc/resolv.conf
    /etc/ld.so.preload /etc/crontab /app/config.ru /app/.dynoctl/config.ru /app/attacks.rb /usr/bin/ruby /bin/sh
    /run/systemd/journal/socket /run/systemd/notify /proc/sys/fs/suid_dumpable /proc/sys/kernel/randomize_va_space
    /proc/sys/kernel/dmesg_restrict /proc/sys/net/core/somaxconn /proc/sys/user/max_user_namespaces
    /proc/irq/default_smp_affinity /sys/module/kernel/parameters/panic /proc/sys/vm/drop_caches
    /proc/sys/kernel/kptr_restrict /proc/sys/kernel/unprivileged_bpf_disabled
  ].freeze

  CONNECTS = %w[
    /run/dbus/system_bus_socket /var/run/dbus/system_bus_socket /run/systemd/private /run/systemd/notify
    /run/systemd/io.system.ManagedOOM /run/systemd/resolve.hook /run/udev/control /run/snapd.socket
    /run/snapd-snap.socket /run/docker.sock /run/containerd/containerd.sock /run/podman/podman.sock
    /run/dynoctl-router/haproxy.sock /run/dynoctl-router/admin.sock /run/user/0/bus /run/user/0/systemd/private
    /run/cryptsetup /run/acpid.socket /run/lvm/lvmpolld.socket
  ].freeze

  PROGRAMS = {
    "sudo" => %w[sudo -n id -u], "su" => %w[su -c id], "mount" => %w[mount -t tmpfs none /mnt],
    "unshare a user namespace" => %w[unshare -r id -u], "nsenter" => %w[nsenter -t 1 -m true],
    "systemctl" => %w[systemctl show -p Id init.scope], "systemctl stop" => %w[systemctl stop dynoctl-router],
    "busctl" => %w[busctl list], "systemd-run" => %w[systemd-run --wait true], "loginctl" => %w[loginctl list-users],
    "journalctl of the system" => ["sh", "-c", "journalctl -q -n 1 --no-pager 2>/dev/null | grep -q ."],
    "crontab" => ["sh", "-c", "echo '* * * * * id' | crontab -"], "at" => ["sh", "-c", "echo id | at now"],
    "hostname" => %w[hostname hostile], "date" => %w[date -s 2001-01-01], "ip" => %w[ip link set lo down],
    "renice" => %w[renice -n -5 -p 1], "dmesg" => %w[dmesg], "sysctl" => %w[sysctl -w kernel.panic=1],
    "setpriv" => %w[setpriv --reuid 0 id], "chroot" => %w[chroot / id], "modprobe" => %w[modprobe dummy],
    "passwd" => %w[passwd -d root], "newgrp" => %w[newgrp root], "losetup" => %w[losetup -f /app/attacks.rb],
    "nft" => %w[nft list ruleset], "iptables" => %w[iptables -S], "ss of other processes" =>
      ["sh", "-c", "ss -Hltnp 2>/dev/null | grep -q 'users:.*pid=1,'"],
    "ps of other users" => ["sh", "-c", "ps -eo uid= 2>/dev/null | grep -qv \"^ *$(id -u)$\""],
  }.freeze

  module_function

  def table
    found = {}
    if RUBY_PLATFORM.start_with?("x86_64")
      CALLS.each { |name, number| found["call #{name}"] = -> { reached { syscall(number, 0, 0, 0, 0, 0) } } }
      NAMESPACES.each { |name, flag| found["unshare a #{name} namespace"] = -> { reached { syscall(272, flag) } } }
      NAMESPACES.except("time").each { |name, flag| found["clone into a #{name} namespace"] = -> { cloned { syscall(56, flag | 17, 0, 0, 0, 0) } } }
      NAMESPACES.each { |name, flag| found["clone3 into a #{name} namespace"] = -> { cloned { clone3(flag) } } }
      found["clone3 into another control group"] = -> { cloned { clone3(0x200000000) } }
      found["personality without randomisation"] = -> { reached { syscall(135, 0x0040000) } }
      found["fchmodat2 to setuid"] = -> { file { |path| reached { syscall(452, -100, path, 0o4755, 0) } } }
      found["open a setuid file"] = -> { reached { syscall(257, -100, "#{temporary}/open", 0o101, 0o4755) } }
      found["create a setuid file"] = -> { reached { syscall(85, "#{temporary}/creat", 0o4755) } }
      found["capset"] = -> { reached { syscall(126, [0x20080522, 0].pack("LL"), ([0xffffffff] * 6).pack("L*")) } }
    end
    FAMILIES.each { |family| found["socket of family #{family}"] = -> { reached { Socket.new(family, :STREAM, 0) } } }
    FAMILIES.each { |family| found["raw socket of family #{family}"] = -> { reached { Socket.new(family, :RAW, 0) } } }
    found["raw ICMP"] = -> { Socket.new(:INET, :RAW, 1) }
    found["raw IPv6"] = -> { Socket.new(:INET6, :RAW, 58) }
    found["a port below 1024"] = -> { TCPServer.new("127.0.0.1", 81) }
    WRITES.each { |path| found["write in #{path}"] = -> { File.write("#{path}/hostile", "x") } }
    LISTS.each { |path| found["list #{path}"] = -> { !Dir.children(path).empty? } }
    READS.each { |path| found["read #{path}"] = -> { !File.open(path) { |it| it.read_nonblock(16) }.empty? } }
    OVERWRITES.each { |path| found["overwrite #{path}"] = -> { File.open(path, File::WRONLY) { |it| it.syswrite("x") } } }
    CONNECTS.each { |path| found["connect to #{path}"] = -> { connect(path) } }
    PROGRAMS.each { |name, argv| found["program #{name}"] = -> { system(*argv, in: File::NULL, out: File::NULL, err: File::NULL) } }
    found.merge(others, scoped? ? abstract : {})
  end

  # Whether the kernel can keep abstract sockets apart: Linux 6.12 or later, with Landlock.
  def scoped?
    syscall(444, 0, 0, 1) >= 6
  rescue SystemCallError
    false
  end

  def abstract
    {
      "an abstract socket of another program" => -> { connect("\0hostile") },
      "an abstract socket for datagrams" => -> { Socket.new(:UNIX, :DGRAM).connect(Addrinfo.unix("\0hostile-datagrams")).zero? },
      "pass a socket to another program" => -> { UNIXSocket.open("\0hostile") { |peer| peer.send_io(File.open(File::NULL)) || true } },
    }
  end

  def others
    {
      "chmod to setuid" => -> { file { |path| File.chmod(0o4755, path) } },
      "chmod to setgid" => -> { file { |path| File.chmod(0o2755, path) } },
      "make a setgid directory" => -> { Dir.mkdir("#{temporary}/setgid", 0o2755) },
      "chown to root" => -> { file { |path| File.chown(0, 0, path) } },
      "become root" => -> { Process::Sys.setuid(0) },
      "become root's group" => -> { Process::Sys.setgid(0) },
      "become another user" => -> { Process::Sys.setuid(Process.uid + 1) },
      "set groups" => -> { Process.groups = [0] },
      "signal systemd" => -> { Process.kill(0, 1) },
      "see other processes" => -> { Dir.children("/proc").grep(/\A\d+\z/).any? { |pid| foreign?(pid) } },
      "raise the number of files" => -> { Process.setrlimit(:NOFILE, 1 << 20) },
      "be killed last" => -> { File.write("/proc/self/oom_score_adj", "-1000") },
      "be more important" => -> { Process.setpriority(Process::PRIO_PROCESS, 0, -5) },
      "run from /dev/shm" => -> { program("/dev/shm") },
      "take a pseudo-terminal of the server" => -> { File.open("/dev/ptmx", File::RDWR) },
      "dump its memory to the disk" => -> { Process.getrlimit(:CORE).max.positive? },
      "make a device" => -> { system("mknod", "#{temporary}/null", "c", "1", "3", err: File::NULL) },
      "link to a file of root" => -> { File.link("/etc/passwd", "#{temporary}/passwd") },
      "start 600 tasks" => -> { many },
      "start 600 processes" => -> { bomb },
      "the server's password file by a link of the build" => -> { File.read("/app/links/shadow") },
      "the home of root by a link of the build" => -> { !Dir.children("/app/links/root").empty? },
      "a device of the build" => -> { File.ftype("/app/links/null") == "characterSpecial" },
      "a setuid file of the build" => -> { File.setuid?("/app/links/setuid") || File.setgid?("/app/links/setuid") },
      "a pipe of the build" => -> { File.ftype("/app/links/pipe") == "fifo" },
      "move to another control group" => -> { !Dir.glob("/sys/fs/cgroup/**/cgroup.procs").each { |path| File.write(path, $$) }.empty? },
      "another unit's credentials" => -> { Dir.glob("/run/credentials/*").any? { |path| foreign_credentials?(path) } },
      "a socket that systemd holds" => -> { ObjectSpace.each_object(UNIXSocket).any? },
      "the server's cgroups" => -> { !Dir.glob("/sys/fs/cgroup/*").empty? },
      "write to the terminal of root" => -> { File.write("/dev/console", "x") },
      "leave something in /dev/mqueue of all" => -> { Dir.children("/dev/mqueue").any? },
    }
  end

  def temporary
    @temporary ||= Dir.mkdir("/tmp/attack-#{Process.pid}").zero? && "/tmp/attack-#{Process.pid}"
  end

  def file
    path = "#{temporary}/file"
    File.write(path, "x")
    yield path
  end

  # True unless the call was refused before the kernel looked at its arguments.
  def reached
    yield
    true
  rescue *REFUSED
    false
  rescue SystemCallError
    true
  end

  def connect(path)
    Socket.unix(path) { true }
  rescue Errno::EPROTOTYPE # it takes datagrams
    reached { Socket.new(:UNIX, :DGRAM).connect(Addrinfo.unix(path)) }
  end

  def program(directory)
    path = "#{directory}/program"
    File.write(path, "#!/bin/sh\nexit 0\n")
    File.chmod(0o755, path)
    system(path)
  end

  # Whatever comes into being in a process that was made so ends at once.
  def cloned
    reached { (yield.zero? && exit!(0)) || true }
  end

  def clone3(flags) = syscall(435, [flags, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0].pack("Q11"), 88)

  # A shell that starts processes until it cannot; all of them end with its group.
  def bomb
    script = "i=0; while [ $i -lt 600 ]; do sleep 60 & i=$((i + 1)); done"
    shell = Process.spawn("sh", "-c", script, pgroup: true, in: File::NULL, out: File::NULL, err: File::NULL)
    Process.wait2(shell).last.success?
  ensure
    Process.kill(:KILL, -shell)
  end

  def foreign?(pid)
    File.stat("/proc/#{pid}").uid != Process.uid
  rescue SystemCallError
    false
  end

  def foreign_credentials?(path)
    path != ENV["CREDENTIALS_DIRECTORY"] && !Dir.children(path).empty?
  end

  def many
    threads = []
    threads << Thread.new { sleep } while threads.size < 600
    true
  rescue ThreadError
    false
  ensure
    threads.each(&:kill)
  end

  # They run in a process of their own, in order. One that hangs or crashes is counted as such, and the next process
  # goes on after it.
  def run
    left = table.reject { |name, _| ENV["SPARE"] && name.start_with?(ENV["SPARE"]) }.to_a
    found = {}
    until left.empty?
      read, write = IO.pipe
      child = fork { attack_all(left, write) }
      write.close
      found[left.shift.first] = read.gets.chomp while !left.empty? && read.wait_readable(PATIENCE) && !read.eof?
      found[left.shift.first] = read.wait_readable(0) ? "crashes" : "hangs" unless left.empty?
      Process.kill(:KILL, child)
      Process.wait(child)
    end
    found
  end

  def attack_all(attacks, write)
    $VERBOSE = nil
    write.sync = true
    attacks.each { |_, attack| write.puts(attempt(attack)) }
    exit!(0)
  end

  def attempt(attack)
    attack.call ? "succeeded" : "refused"
  rescue *OTHER => e
    e.class.name
  end
end

if $PROGRAM_NAME == __FILE__
  found = Attacks.run
  won = found.select { |_, outcome| outcome == "succeeded" }.keys
  puts "#{found.size} attacks tried, #{won.size} succeeded", won
  exit won.empty?
end
