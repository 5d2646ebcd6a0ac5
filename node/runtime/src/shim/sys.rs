//! The few system calls that have no safe form: every `unsafe` of the shim is here.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::thread::UnshareFlags;

/// Turns a C result into ours.
fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Leaves namespaces. Only for a process with a single thread.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    #[expect(unsafe_code, reason = "rustix has no safe form: sharing of file tables may end")]
    // SAFETY: none of the callers asks for NEWFILES, which alone could invalidate
    // file descriptors that somebody holds.
    unsafe {
        Ok(rustix::thread::unshare_unsafe(flags)?)
    }
}

/// Makes a child that runs the same program; gives its number, and nothing in the child.
pub(crate) fn fork() -> io::Result<Option<i32>> {
    #[expect(unsafe_code, reason = "there is no safe fork")]
    // SAFETY: the shim has a single thread, so no lock can be held by another one.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid))
}

/// Ends the process without running anything that belongs to its parent.
pub(crate) fn exit_now(code: i32) -> ! {
    #[expect(unsafe_code, reason = "std's exit runs handlers that are the parent's")]
    // SAFETY: `_exit` has no preconditions.
    unsafe {
        libc::_exit(code)
    }
}

/// Makes one of the standard descriptors mean `file`.
pub(crate) fn redirect(file: &File, standard: i32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "which number a descriptor has matters only here")]
    // SAFETY: 0, 1 and 2 are never owned by a value of ours.
    unsafe {
        check(libc::dup2(file.as_raw_fd(), standard))?;
    }
    Ok(())
}

/// Blocks SIGTERM and SIGINT and makes them readable.
pub(crate) fn signal_fd() -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "signalfd is not in rustix")]
    // SAFETY: the set is initialised by sigemptyset before it is read, and the new
    // descriptor belongs to nobody else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        let fd = check(libc::signalfd(-1, &raw const set, flags))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Signals that would end or disturb the shim are ignored.
pub(crate) fn ignore_signals() {
    for number in [libc::SIGPIPE, libc::SIGHUP] {
        #[expect(unsafe_code, reason = "signal dispositions are not in rustix")]
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe {
            libc::signal(number, libc::SIG_IGN);
        }
    }
}

/// Gives a container's process the signals as every program expects them.
pub(crate) fn default_signals() {
    #[expect(unsafe_code, reason = "signal dispositions are not in rustix")]
    // SAFETY: default dispositions run no code of ours; the set is initialised.
    unsafe {
        for number in 1..=64 {
            // Those that cannot be changed are refused, which is as good.
            libc::signal(number, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Switches on the loopback interface of the current network namespace.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    #[expect(unsafe_code, reason = "interface flags are set by ioctl")]
    // SAFETY: `ifreq` is plain data; SIOCGIFFLAGS fills the member that is changed, and
    // the structure outlives both calls.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
            *place = *byte as libc::c_char;
        }
        let fd = socket.as_raw_fd();
        check(libc::ioctl(fd, libc::SIOCGIFFLAGS as _, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        check(libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &raw const request))?;
    }
    Ok(())
}

/// Sends any signal number through a handle that no other process can take over.
pub(crate) fn send_signal(pidfd: &OwnedFd, number: i32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "rustix knows named signals only, and users send any")]
    // SAFETY: the call takes no memory of ours, and the kernel refuses bad numbers.
    let result = unsafe {
        let info = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, info, 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
