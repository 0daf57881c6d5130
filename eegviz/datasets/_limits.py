"""What a reading process gives up before it touches a file from elsewhere: memory, time, files, other processes."""

import os


def limit(n_bytes, n_seconds):
    """Lower what this process may do: so much more memory, so much computing, no files, no other processes.

    Where the system has no such limits (Windows; memory also on macOS) they are left out.

    Parameters
    ----------
    n_bytes : int
        Of address space beyond what is in use now.
    n_seconds : int
        Of processor time; SIGXCPU ends the process then.
    """
    try:
        import resource
    except ImportError:
        return
    wanted = {"RLIMIT_FSIZE": 0, "RLIMIT_NPROC": 0, "RLIMIT_CORE": 0, "RLIMIT_CPU": n_seconds}
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm", encoding="ascii") as file:
            wanted["RLIMIT_AS"] = int(file.read().split()[0]) * resource.getpagesize() + n_bytes
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            most = value + 2 * (name == "RLIMIT_CPU")  # at its hard limit a process is killed without a reason
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (min(value, most), most))
