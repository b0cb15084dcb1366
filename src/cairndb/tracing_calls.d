#!/usr/sbin/dtrace -s
/*
 * What a process and its descendants do to files, for `cairn trace --replay`, on macOS and FreeBSD:
 *
 *     dtrace -s tracing_calls.d -c 'COMMAND' -o FILE "$(uname)"
 *
 * The lines are those of tracing_calls.bt; what they are says tracing_lines.py. Inode and link count
 * are known only where the program itself asked for them, by fstat or stat. Of processes that have had
 * no lock, reads and stats aren't told.
 *
 * Some probes are there on one system only, and passed over on the other (zdefs).
 */

#pragma D option quiet
#pragma D option zdefs
#pragma D option strsize=1024
#pragma D option bufsize=16m
#pragma D option dynvarsize=32m
#pragma D option switchrate=20hz

inline int AT_HERE = -100;

BEGIN
{
	printf("cairn-trace\t1\tdtrace\t%s\n", $$1);
}

/* What is done: see tracing_calls.bt. self->fd: -1 none, -2 what it returns. */

syscall::open:entry,
syscall::open_nocancel:entry
/progenyof($target)/
{
	self->what = 1;
	self->fd = -2;
	self->directory = AT_HERE;
	self->path = arg0;
	self->flags = arg1;
}

syscall::openat:entry,
syscall::openat_nocancel:entry
/progenyof($target)/
{
	self->what = 1;
	self->fd = -2;
	self->directory = (int)arg0 == -2 ? AT_HERE : (int)arg0;
	self->path = arg1;
	self->flags = arg2;
}

syscall::close:entry,
syscall::close_nocancel:entry
/progenyof($target)/
{
	self->what = 2;
	self->fd = (int)arg0;
}

syscall::close_range:entry
/progenyof($target)/
{
	self->what = 3;
	self->fd = (int)arg0;
	self->target = arg1;
	self->flags = arg2;
}

syscall::flock:entry
/progenyof($target)/
{
	self->what = 4;
	self->fd = (int)arg0;
	self->flags = arg1;
}

syscall::fcntl:entry,
syscall::fcntl_nocancel:entry
/progenyof($target)/
{
	self->what = 5;
	self->fd = (int)arg0;
	self->flags = arg1;
	self->target = arg2;
	/* F_SETLK, F_SETLKW: 8, 9 on macOS, 12, 13 on FreeBSD, whose numbers 8, 9 are old ones of these */
	self->span = arg1 == 8 || arg1 == 9 || arg1 == 12 || arg1 == 13;
}

syscall::fsync:entry,
syscall::fsync_nocancel:entry,
syscall::fdatasync:entry
/progenyof($target)/
{
	self->what = 6;
	self->fd = (int)arg0;
}

syscall::sync:entry
/progenyof($target)/
{
	self->what = 7;
	self->fd = -1;
}

syscall::write:entry,
syscall::write_nocancel:entry,
syscall::pwrite:entry,
syscall::pwrite_nocancel:entry,
syscall::writev:entry,
syscall::writev_nocancel:entry,
syscall::pwritev:entry,
syscall::ftruncate:entry
/progenyof($target)/
{
	self->what = 8;
	self->fd = (int)arg0;
}

syscall::read:entry,
syscall::read_nocancel:entry,
syscall::pread:entry,
syscall::pread_nocancel:entry,
syscall::readv:entry,
syscall::readv_nocancel:entry
/progenyof($target) && locks[pid]/
{
	self->what = 9;
	self->fd = (int)arg0;
}

syscall::fstat:entry,
syscall::fstat64:entry
/progenyof($target) && locks[pid]/
{
	self->what = 10;
	self->fd = (int)arg0;
	self->status = arg1;
}

syscall::stat:entry,
syscall::stat64:entry,
syscall::lstat:entry,
syscall::lstat64:entry
/progenyof($target) && locks[pid]/
{
	self->what = 10;
	self->fd = -1;
	self->directory = AT_HERE;
	self->path = arg0;
	self->status = arg1;
}

syscall::fstatat:entry,
syscall::fstatat64:entry
/progenyof($target) && locks[pid]/
{
	self->what = 10;
	self->fd = -1;
	self->directory = (int)arg0 == -2 ? AT_HERE : (int)arg0;
	self->path = arg1;
	self->status = arg2;
}

syscall::unlink:entry
/progenyof($target)/
{
	self->what = 11;
	self->fd = -1;
	self->directory = AT_HERE;
	self->path = arg0;
}

syscall::unlinkat:entry
/progenyof($target)/
{
	self->what = 11;
	self->fd = -1;
	self->directory = (int)arg0 == -2 ? AT_HERE : (int)arg0;
	self->path = arg1;
	self->flags = arg2;
}

syscall::rename:entry,
syscall::link:entry
/progenyof($target)/
{
	self->what = probefunc == "link" ? 13 : 12;
	self->fd = -1;
	self->directory = AT_HERE;
	self->path = arg0;
	self->target = AT_HERE;
	self->other = arg1;
}

syscall::renameat:entry,
syscall::renameatx_np:entry,
syscall::linkat:entry
/progenyof($target)/
{
	self->what = probefunc == "linkat" ? 13 : 12;
	self->fd = -1;
	self->directory = (int)arg0 == -2 ? AT_HERE : (int)arg0;
	self->path = arg1;
	self->target = (int)arg2 == -2 ? AT_HERE : (int)arg2;
	self->other = arg3;
}

syscall::dup:entry,
syscall::dup2:entry
/progenyof($target)/
{
	self->what = 14;
	self->fd = (int)arg0;
}

syscall::chdir:entry
/progenyof($target)/
{
	self->what = 15;
	self->fd = -1;
	self->directory = AT_HERE;
	self->path = arg0;
}

syscall::fchdir:entry
/progenyof($target)/
{
	self->what = 16;
	self->fd = (int)arg0;
}

syscall:::entry
/self->what/
{
	self->begun = timestamp;
}

syscall::flock:return,
syscall::fcntl:return,
syscall::fcntl_nocancel:return
/self->what && errno == 0/
{
	locks[pid] = 1;
}

/* struct stat: of macOS with 64 bits an int, two shorts, a long; of FreeBSD since 12 three longs. */
syscall::fstat64:return,
syscall::stat64:return,
syscall::lstat64:return,
syscall::fstatat64:return
/self->what && errno == 0 && self->status/
{
	this->mac = copyin(self->status, 16);
	self->device = *(uint32_t *)this->mac;
	self->links = *(uint16_t *)((char *)this->mac + 6);
	self->inode = *(uint64_t *)((char *)this->mac + 8);
}

syscall::fstat:return,
syscall::stat:return,
syscall::lstat:return,
syscall::fstatat:return
/self->what && errno == 0 && self->status && $$1 == "FreeBSD"/
{
	this->bsd = copyin(self->status, 24);
	self->device = *(uint64_t *)this->bsd;
	self->inode = *(uint64_t *)((char *)this->bsd + 8);
	self->links = *(uint64_t *)((char *)this->bsd + 16);
}

/* struct flock: two longs, an int, two shorts. */
syscall::fcntl:return,
syscall::fcntl_nocancel:return
/self->what && self->span/
{
	this->lock = copyin(self->target, 24);
	printf("span\t%d\t%d\t%d\t%d\t%d\n", tid, *(int16_t *)((char *)this->lock + 20),
	    *(int16_t *)((char *)this->lock + 22), *(int64_t *)this->lock,
	    *(int64_t *)((char *)this->lock + 8));
}

syscall:::return
/self->what && self->path/
{
	printf("path\t%d\t%d\t%s\n", tid, self->directory, copyinstr(self->path));
}

syscall:::return
/self->what && self->other/
{
	printf("path\t%d\t%d\t%s\n", tid, (int)self->target, copyinstr(self->other));
}

syscall:::return
/self->what/
{
	printf("%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t-1\n", self->what, self->begun,
	    timestamp, pid, tid, errno ? -errno : (int64_t)arg1,
	    self->fd == -2 ? (int64_t)arg1 : (int64_t)self->fd, self->flags, self->target,
	    self->device, self->inode, self->links);
	self->what = 0;
	self->begun = 0;
	self->fd = 0;
	self->directory = 0;
	self->path = 0;
	self->other = 0;
	self->flags = 0;
	self->target = 0;
	self->span = 0;
	self->status = 0;
	self->device = 0;
	self->inode = 0;
	self->links = 0;
}

proc:::create
/progenyof($target)/
{
	printf("fork\t%d\t%d\t%d\t%d\t0\t-1\t0\t%d\t0\t0\t0\t-1\n", timestamp, timestamp, pid, tid,
	    args[0]->pr_pid);
}

proc:::exec
/progenyof($target)/
{
	self->executing = timestamp;
}

proc:::exec-success
/progenyof($target)/
{
	printf("exec\t%d\t%d\t%d\t%d\t0\t-1\t0\t0\t0\t0\t0\t-1\n",
	    self->executing ? self->executing : timestamp, timestamp, pid, tid);
	self->executing = 0;
}

proc:::exit
/progenyof($target)/
{
	printf("exit\t%d\t%d\t%d\t%d\t0\t-1\t0\t0\t0\t0\t0\t-1\n", timestamp, timestamp, pid, tid);
	locks[pid] = 0;
}

END
{
	printf("end\n");
}
