"""Names that a C or C++ implementation may take, by where they come from.

They are names of functions, variables, types and macros without an underscore in front.
Names that a pattern covers, such as those of <math.h> and <complex.h>, are in `c_names.py`.
"""

KEYWORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t
char8_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
constinit continue contract_assert decltype default delete do double dynamic_cast else enum
explicit export extern false final float for fortran friend goto if import inline int long module
mutable namespace new noexcept not not_eq nullptr operator or or_eq override private protected
public reflexpr register reinterpret_cast requires restrict return short signed sizeof static
static_assert static_cast struct switch template this thread_local throw true try typedef typeid
typename typeof typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq
"""
"""Up to C23 and C++26, words that only mean something in their place included."""

ISO_C = """
abort abs aligned_alloc asctime assert at_quick_exit atexit atof atoi atol atoll bsearch btowc
c16rtomb c32rtomb call_once calloc clearerr clock cnd_broadcast cnd_destroy cnd_init cnd_signal
cnd_timedwait cnd_wait complex conj conjf conjl ctime difftime div errno exit fclose
feclearexcept fegetenv fegetexceptflag fegetround feholdexcept feof feraiseexcept ferror fesetenv
fesetexceptflag fesetround fetestexcept feupdateenv fflush fgetc fgetpos fgets fgetwc fgetws
fopen fprintf fputc fputs fputwc fputws fread free freopen fscanf fseek fsetpos ftell fwide
fwprintf fwrite fwscanf getc getchar getenv getwc getwchar gmtime imaxabs imaxdiv isalnum isalpha
isblank iscntrl isdigit isgraph isgreater isgreaterequal isless islessequal islessgreater islower
isprint ispunct isspace isunordered isupper iswalnum iswalpha iswblank iswcntrl iswctype iswdigit
iswgraph iswlower iswprint iswpunct iswspace iswupper iswxdigit isxdigit jmp_buf labs ldiv llabs
lldiv localeconv localtime longjmp malloc math_errhandling mblen mbrlen mbrtoc16 mbrtoc32 mbrtowc
mbsinit mbsrtowcs mbstowcs mbtowc memchr memcmp memcpy memmove memset mktime mtx_destroy mtx_init
mtx_lock mtx_timedlock mtx_trylock mtx_unlock offsetof once_flag perror printf putc putchar puts
putwc putwchar qsort quick_exit raise rand realloc remove rename rewind scanf setbuf setjmp
setlocale setvbuf signal snprintf sprintf srand sscanf stderr stdin stdout strcat strchr strcmp
strcoll strcpy strcspn strerror strftime strlen strncat strncmp strncpy strpbrk strrchr strspn
strstr strtod strtof strtoimax strtok strtol strtold strtoll strtoul strtoull strtoumax strxfrm
swprintf swscanf system thrd_create thrd_current thrd_detach thrd_equal thrd_exit thrd_join
thrd_sleep thrd_yield time timespec_get tmpfile tmpnam tolower toupper towctrans towlower
towupper tss_create tss_delete tss_get tss_set ungetc ungetwc va_arg va_copy va_end va_list
va_start vfprintf vfscanf vfwprintf vfwscanf vprintf vscanf vsnprintf vsprintf vsscanf vswprintf
vswscanf vwprintf vwscanf wcrtomb wcscat wcschr wcscmp wcscoll wcscpy wcscspn wcsftime wcslen
wcsncat wcsncmp wcsncpy wcspbrk wcsrchr wcsrtombs wcsspn wcsstr wcstod wcstof wcstoimax wcstok
wcstol wcstold wcstoll wcstombs wcstoul wcstoull wcstoumax wcsxfrm wctob wctomb wctrans wctype
wmemchr wmemcmp wmemcpy wmemmove wmemset wprintf wscanf
"""
"""What the headers of C17 give, as clang with glibc 2.36 lists them under -std=c17."""

POSIX = """
a64l accept access alarm alignas alignof alloca alphasort basename bind catclose catgets catopen
cfgetispeed cfgetospeed cfsetispeed cfsetospeed chdir chmod chown clock_getcpuclockid
clock_getres clock_gettime clock_nanosleep clock_settime close closedir closelog clrbit confstr
connect creat ctermid d_fileno daylight dirfd dirname dlclose dlerror dlopen dlsym dprintf
drand48 dup dup2 duplocale endgrent endhostent endnetent endorder endprotoent endpwent endservent
endutxent erand48 err error error_at_line error_message_count error_one_per_line
error_print_progname errx execl execle execlp execv execve execvp faccessat fchdir fchmod
fchmodat fchown fchownat fcntl fd_set fdatasync fdopen fdopendir fexecve ffs fileno flockfile
fmemopen fnmatch fork fpathconf freeaddrinfo freelocale fseeko fstat fstatat fsync ftello
ftruncate ftrylockfile ftw funlockfile futimens gai_strerror getaddrinfo getc_unlocked
getchar_unlocked getcwd getdate getdate_err getdelim getegid geteuid getgid getgrent getgrgid
getgrnam getgroups gethostbyaddr gethostbyname gethostent gethostid gethostname getitimer getline
getlogin getnameinfo getnetbyaddr getnetbyname getnetent getopt getopt_long getopt_long_only
getpeername getpgid getpgrp getpid getppid getprotobyname getprotobynumber getprotoent getpwent
getpwnam getpwuid getservbyname getservbyport getservent getsid getsockname getsockopt getsubopt
gettimeofday getuid getutxent getutxid getutxline glob globfree grantpt hcreate hdestroy howmany
hsearch htonl htons iconv iconv_close iconv_open if_freenameindex if_indextoname if_nameindex
if_nametoindex in6addr_any in6addr_loopback initstate insque ioctl isascii isatty isclr isset
jrand48 kill killpg l64a lchown lcong48 leaf lfind link linkat listen lockf lrand48 lsearch lseek
lstat mallinfo mallinfo2 malloc_info malloc_stats malloc_trim malloc_usable_size mallopt
mbsnrtowcs memalign memccpy mkdir mkdirat mkdtemp mkfifo mkfifoat mknod mknodat mkstemp mlock
mlockall mmap mprotect mrand48 msync munlock munlockall munmap nanosleep newlocale nftw nice
nl_catd nl_item nl_langinfo no_argument noreturn nrand48 ntohl ntohs open open_memstream
open_wmemstream openat opendir openlog optarg opterr optind optional_argument optopt pathconf
pause pclose pipe poll popen postorder powerof2 pread preorder pselect psiginfo psignal ptsname
putc_unlocked putchar_unlocked putenv pututxline pvalloc pwrite random re_syntax_options read
readdir readlink readlinkat readv reallocarray realpath recv recvfrom recvmsg regcomp regerror
regexec regfree remque renameat required_argument rewinddir rmdir roundup s6_addr sa_handler
sa_sigaction scandir sched_get_priority_max sched_get_priority_min sched_getparam
sched_getscheduler sched_priority sched_rr_get_interval sched_setparam sched_setscheduler
sched_yield seed48 seekdir select sem_close sem_destroy sem_getvalue sem_init sem_open sem_post
sem_timedwait sem_trywait sem_unlink sem_wait send sendmsg sendto setbit setegid setenv seteuid
setgid setgrent sethostent setitimer setlogmask setnetent setpgid setpgrp setprotoent setpwent
setregid setreuid setservent setsid setsockopt setstate setuid setutxent shm_open shm_unlink
shutdown si_addr si_addr_lsb si_arch si_band si_call_addr si_fd si_int si_lower si_overrun si_pid
si_pkey si_ptr si_status si_stime si_syscall si_timerid si_uid si_upper si_utime si_value
sigaction sigaddset sigaltstack sigdelset sigemptyset sigev_notify_attributes
sigev_notify_function sigfillset sighold sigignore siginterrupt sigismember sigjmp_buf siglongjmp
signgam sigpause sigpending sigprocmask sigqueue sigrelse sigset sigsetjmp sigsuspend
sigtimedwait sigwait sigwaitinfo sleep sockatmark socket socketpair srand48 srandom st_atime
st_ctime st_mtime stat stpcpy stpncpy strcasecmp strdup strfmon strncasecmp strndup strnlen
strptime strsignal swab symlink symlinkat sync sysconf syslog tcdrain tcflow tcflush tcgetattr
tcgetpgrp tcgetsid tcsendbreak tcsetattr tcsetpgrp tdelete telldir tempnam tfind timer_create
timer_delete timer_getoverrun timer_gettime timer_settime times timezone toascii truncate tsearch
ttyname twalk tzname tzset ulimit umask unlink unlinkat unlockpt unsetenv uselocale utime
utimensat utimes valloc vdprintf verr verrx vwarn vwarnx wait waitid waitpid warn warnx wcpcpy
wcpncpy wcscasecmp wcsdup wcsncasecmp wcsnlen wcsnrtombs wcswcs wcswidth wcwidth wordexp wordfree
write writev
"""
"""What POSIX headers give beyond them, under _XOPEN_SOURCE=700."""

GNU = """
accept4 acct addmntent addseverity adjtime adjtimex advance aio_cancel aio_error aio_fsync
aio_init aio_read aio_return aio_suspend aio_write arc4random arc4random_buf arc4random_uniform
arch_prctl argp_err_exit_status argp_error argp_failure argp_help argp_parse
argp_program_bug_address argp_program_version argp_program_version_hook argp_state_help
argp_usage argz_add argz_add_sep argz_append argz_count argz_create argz_create_sep argz_delete
argz_extract argz_insert argz_next argz_replace argz_stringify asprintf assert_perror
authdes_create authdes_getucred authdes_pk_create authnone_create authunix_create
authunix_create_default backtrace backtrace_symbols backtrace_symbols_fd bcmp bcopy bdflush
be16toh be32toh be64toh bind_textdomain_codeset bindresvport bindresvport6 bindtextdomain brk
bsd_signal bzero c8rtomb callrpc canonicalize_file_name capget capset cbc_crypt cfmakeraw cfree
cfsetspeed chflags chroot clearenv clearerr_unlocked clnt_broadcast clnt_create clnt_pcreateerror
clnt_perrno clnt_perror clnt_spcreateerror clnt_sperrno clnt_sperror clntraw_create
clnttcp_create clntudp_bufcreate clntudp_create clntunix_create clock_adjtime clone close_range
closefrom copy_file_range create_module crypt cuserid daemon dcgettext dcngettext delete_module
des_setparity dgettext dl_iterate_phdr dladdr dladdr1 dlinfo dlmopen dlvsym dn_comp dn_expand
dn_skipname dngettext dup3 dysize eaccess ecb_crypt ecvt endaliasent endfsent endmntent
endnetgrent endrpcent endsgent endspent endttyent endusershell endutent environ envz_add
envz_entry envz_get envz_merge envz_remove envz_strip epoll_create epoll_create1 epoll_ctl
epoll_pwait epoll_pwait2 epoll_wait ether_aton ether_hostton ether_line ether_ntoa ether_ntohost
euidaccess eventfd eventfd_read eventfd_write execveat execvpe explicit_bzero fallocate
fanotify_init fanotify_mark fattach fchflags fcloseall fcvt fd_mask fdetach fedisableexcept
feenableexcept fegetexcept fegetmode feof_unlocked ferror_unlocked fesetexcept fesetmode
fetestexceptflag fflush_unlocked ffsl ffsll fgetc_unlocked fgetgrent fgetpwent fgets_unlocked
fgetsgent fgetspent fgetwc_unlocked fgetws_unlocked fgetxattr fileno_unlocked flistxattr flock
fmtmsg fopencookie forkpty fputc_unlocked fputs_unlocked fputwc_unlocked fputws_unlocked
fread_unlocked freeifaddrs fremovexattr fsconfig fsetxattr fsmount fsopen fspick fstatfs fstatvfs
ftime ftok fts64_children fts64_close fts64_open fts64_read fts64_set fts_children fts_close
fts_open fts_read fts_set futimes futimesat fwrite_unlocked gai_cancel gai_error gai_suspend gcvt
get_avphys_pages get_current_dir_name get_kernel_syms get_myaddress get_nprocs get_nprocs_conf
get_phys_pages getaddrinfo_a getaliasbyname getaliasent getauxval getcontext getcpu getdents64
getdirentries getdomainname getdtablesize getentropy getfsent getfsfile getfsspec getgrouplist
gethostbyname2 getifaddrs getipv4sourcefilter getloadavg getmntent getmsg getnetgrent getnetname
getpagesize getpass getpmsg getpriority getpt getpublickey getpw getrandom getresgid getresuid
getrlimit getrpcbyname getrpcbynumber getrpcent getrpcport getrusage gets getsecretkey getsgent
getsgnam getsourcefilter getspent getspnam gettext gettid getttyent getttynam getumask
getusershell getutent getutid getutline getutmp getutmpx getw getwc_unlocked getwchar_unlocked
getwd getxattr glob_pattern_p gnu_dev_major gnu_dev_makedev gnu_dev_minor gnu_get_libc_release
gnu_get_libc_version group_member gsignal gtty h_addr h_errlist h_errno h_nerr hasmntopt herror
host2netname hstrerror htobe16 htobe32 htobe64 htole16 htole32 htole64 ifa_broadaddr ifa_dstaddr
ifc_buf ifc_req ifr_addr ifr_bandwidth ifr_broadaddr ifr_data ifr_dstaddr ifr_flags ifr_hwaddr
ifr_ifindex ifr_map ifr_metric ifr_mtu ifr_name ifr_netmask ifr_newname ifr_qlen ifr_slave index
inet6_opt_append inet6_opt_find inet6_opt_finish inet6_opt_get_val inet6_opt_init inet6_opt_next
inet6_opt_set_val inet6_option_alloc inet6_option_append inet6_option_find inet6_option_init
inet6_option_next inet6_option_space inet6_rth_add inet6_rth_getaddr inet6_rth_init
inet6_rth_reverse inet6_rth_segments inet6_rth_space inet_addr inet_aton inet_lnaof inet_makeaddr
inet_netof inet_network inet_nsap_addr inet_nsap_ntoa inet_ntoa inet_ntop inet_pton init_module
initgroups innetgr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioperm iopl
iruserok iruserok_af isastream iscanonical isctype iseqsig isfdtype issignaling issubnormal
iszero key_decryptsession key_decryptsession_pk key_encryptsession key_encryptsession_pk
key_gendes key_get_conv key_secretkey_is_set key_setnet key_setsecret klogctl lchmod lckpwdf
le16toh le32toh le64toh lgetxattr linux lio_listio listxattr llistxattr llseek loc1 loc2 locs
login login_tty logout logwtmp lremovexattr lsetxattr lutimes madvise makecontext mallwatch
matherr mbrtoc8 mcheck mcheck_check_all mcheck_pedantic mcount memfd_create memfrob memmem
mempcpy memrchr mincore mkostemp mkostemps mkstemps mktemp mlock2 modify_ldt moncontrol
monstartup mount mount_setattr move_mount mprobe mq_close mq_getattr mq_notify mq_open mq_receive
mq_send mq_setattr mq_timedreceive mq_timedsend mq_unlink mremap msgctl msgget msgrcv msgsnd
mtrace muntrace name_to_handle_at netname2host netname2user nfsservctl ngettext ns_name_compress
ns_name_ntop ns_name_pack ns_name_pton ns_name_skip ns_name_uncompress ns_name_unpack ntp_adjtime
ntp_gettime ntp_gettimex obstack_alloc_failed_handler obstack_exit_failure obstack_free
obstack_printf obstack_vprintf on_exit open_by_handle_at open_tree openpty parse_printf_format
passwd2des personality pidfd_getfd pidfd_open pidfd_send_signal pipe2 pivot_root pkey_alloc
pkey_free pkey_get pkey_mprotect pkey_set pmap_getmaps pmap_getport pmap_rmtcall pmap_set
pmap_unset ppoll prctl preadv preadv2 preadv64v2 printf_size printf_size_info prlimit
process_madvise process_mrelease process_vm_readv process_vm_writev profil
program_invocation_name program_invocation_short_name ptrace putgrent putmsg putpmsg putpwent
putsgent putspent pututline putw putwc_unlocked putwchar_unlocked pwritev pwritev2 pwritev64v2
qecvt qfcvt qgcvt query_module quotactl rawmemchr rcmd rcmd_af re_comp re_compile_fastmap
re_compile_pattern re_exec re_match re_match_2 re_max_failures re_search re_search_2
re_set_registers re_set_syntax readahead reboot recvmmsg register_printf_function
register_printf_modifier register_printf_specifier register_printf_type registerrpc
remap_file_pages removexattr renameat2 res_dnok res_hnok res_mailok res_mkquery res_nmkquery
res_nquery res_nquerydomain res_nsearch res_nsend res_ownok res_query res_querydomain res_search
res_send revoke rexec rexec_af rexecoptions rindex rpc_createerr rpmatch rresvport rresvport_af
rtime ruserok ruserok_af ruserpass s6_addr16 s6_addr32 sbrk scandirat sched_getaffinity
sched_getcpu sched_setaffinity secure_getenv sem_clockwait semctl semget semop semtimedop
sendfile sendmmsg setaliasent setbuffer setcontext setdomainname setfsent setfsgid setfsuid
setgroups sethostid sethostname setipv4sourcefilter setlinebuf setlogin setmntent setnetgrent
setns setpriority setresgid setresuid setrlimit setrpcent setsgent setsourcefilter setspent
settimeofday setttyent setusershell setutent setxattr sgetsgent sgetspent shmat shmctl shmdt
shmget sigabbrev_np sigandset sigblock sigdescr_np siggetmask sigisemptyset sigmask signalfd
sigorset sigreturn sigsetmask sigstack sigvec splice sprofil ssignal sstk statfs statvfs statx
std step stime strcasestr strchrnul strdupa strerrordesc_np strerrorname_np strfromd strfromf
strfroml strfry strndupa strsep strtoq strtouq strverscmp stty svc_exit svc_fdset svc_getreq
svc_getreq_common svc_getreq_poll svc_getreqset svc_max_pollfd svc_pollfd svc_register svc_run
svc_sendreply svc_unregister svcauthdes_stats svcerr_auth svcerr_decode svcerr_noproc
svcerr_noprog svcerr_progvers svcerr_systemerr svcerr_weakauth svcfd_create svcraw_create
svctcp_create svcudp_bufcreate svcudp_create svcudp_enablecache svcunix_create svcunixfd_create
swapcontext swapoff swapon sync_file_range syncfs sys_errlist sys_nerr sys_sigabbrev sys_siglist
syscall sysctl sysinfo sysv_signal tdestroy tee textdomain tgkill timegm timelocal timeradd
timerclear timercmp timerfd_create timerfd_gettime timerfd_settime timerisset timersub
timespec_getres tr_break ttyslot u_char u_int u_long u_short ualarm uint ulckpwdf ulong umount
umount2 uname unix unshare updwtmp updwtmpx uselib user2netname ushort usleep ustat utmpname
utmpxname vasprintf versionsort vfork vhangup vlimit vmsplice vsyslog vtimes wait3 wait4
wcschrnul wcstoq wcstouq wmempcpy xdecrypt xdr_accepted_reply xdr_array xdr_authdes_cred
xdr_authdes_verf xdr_authunix_parms xdr_bool xdr_bytes xdr_callhdr xdr_callmsg xdr_char
xdr_cryptkeyarg xdr_cryptkeyarg2 xdr_cryptkeyres xdr_des_block xdr_double xdr_enum xdr_float
xdr_free xdr_getcredres xdr_hyper xdr_int xdr_key_netstarg xdr_key_netstres xdr_keybuf
xdr_keystatus xdr_long xdr_netnamestr xdr_netobj xdr_opaque xdr_opaque_auth xdr_pmap xdr_pmaplist
xdr_pointer xdr_reference xdr_rejected_reply xdr_replymsg xdr_rmtcall_args xdr_rmtcallres
xdr_short xdr_sizeof xdr_string xdr_u_char xdr_u_hyper xdr_u_int xdr_u_long xdr_u_short xdr_union
xdr_unixcred xdr_vector xdr_void xdr_wrapstring xdrmem_create xdrrec_create xdrrec_endofrecord
xdrrec_eof xdrrec_skiprecord xdrstdio_create xencrypt xprt_register xprt_unregister
"""
"""What they give beyond these under _GNU_SOURCE, and whatever else libc and libm export."""

OTHERS = """
main abi i386 mips sparc sun tce vax hpux sgi aix hppa m68k mc68000 nec interrupt far near huge
cdecl pascal stdcall fastcall interface small hyper byte boolean min max each_inst unreachable
imaginary itoa ltoa ultoa getch getche ungetch kbhit putch cputs cgets cprintf cscanf strlwr
strupr strrev strset strnset stricmp strnicmp strcmpi wcslwr wcsupr wcsrev wcsicmp beep cwait eof
filelength tell setmode sopen spawnl spawnle spawnlp spawnv spawnve spawnvp heapwalk heapchk
heapmin flushall fputchar fgetchar rmtmp onexit inp inpw outp outpw heapsort mergesort
setproctitle getprogname setprogname errc warnc fgetln funopen fpurge fropen fwopen reallocf
reallocarr recallocarray freezero strtonum strtoi strtou pledge unveil kqueue kevent sysctlbyname
strlcpy strlcat wcslcpy wcslcat humanize_number dehumanize_number strmode strvis strunvis vis
unvis radixsort sradixsort timingsafe_bcmp timingsafe_memcmp explicit_memset getpeereid
getmntinfo getvfsstat issetugid jail digittoint isrune ishexnumber isideogram isnumber
isphonogram isspecial fgetrune rfork nfssvc undelete devname devname_r extattr_get_fd free_sized
free_aligned_sized memset_explicit memalignment gmtime_r localtime_r stdbit stdckdint ckd_add
ckd_sub ckd_mul
"""
"""Macros that compilers predefine (`-dM -E` of gcc, and of clang for some fifty targets), and
functions and macros of Windows, macOS, the BSDs, C23 and what compilers for firmware add."""
