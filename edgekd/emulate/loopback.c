/* SPDX-License-Identifier: MIT
 *
 * Copyright (c) 2026 the edgekd authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
 * files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
 * modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
 * Software is furnished to do so, subject to the following conditions: The above copyright notice and this permission notice
 * shall be included in all copies or substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
 * WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
 * COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
 * ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 *
 * Preloaded into the QEMU that runs adbd. adbd asks nobody who they are and listens on every interface and on AF_VSOCK: here
 * whatever address a socket is bound to becomes loopback, and there is no AF_VSOCK.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int socket(int domain, int type, int protocol)
{
    static int (*real)(int, int, int);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "socket");
    if (domain == AF_VSOCK) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return real(domain, type, protocol);
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    static int (*real)(int, const struct sockaddr *, socklen_t);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "bind");
    if (address && address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
        /* ::ffff:127.0.0.1, since adbd's socket takes both families and clients come by IPv4. */
        struct sockaddr_in6 loopback;
        memcpy(&loopback, address, sizeof loopback);
        memset(&loopback.sin6_addr, 0, sizeof loopback.sin6_addr);
        loopback.sin6_addr.s6_addr[10] = loopback.sin6_addr.s6_addr[11] = 0xff;
        loopback.sin6_addr.s6_addr[12] = 127;
        loopback.sin6_addr.s6_addr[15] = 1;
        return real(fd, (struct sockaddr *)&loopback, sizeof loopback);
    }
    if (address && address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in loopback;
        memcpy(&loopback, address, sizeof loopback);
        loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return real(fd, (struct sockaddr *)&loopback, sizeof loopback);
    }
    return real(fd, address, length);
}
