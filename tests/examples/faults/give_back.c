/* Preloaded into a server: at SIGUSR1, glibc gives back to the system all memory that is free. */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>

static sigset_t asked;

static void *give_back(void *nothing) {
    int signal;
    while (sigwait(&asked, &signal) == 0)
        malloc_trim(0);
    return nothing;
}

/* In a thread of its own: a handler could interrupt malloc. Those that come later inherit the mask. */
__attribute__((constructor)) static void begin(void) {
    pthread_t thread;
    sigemptyset(&asked);
    sigaddset(&asked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &asked, NULL);
    pthread_create(&thread, NULL, give_back, NULL);
}
