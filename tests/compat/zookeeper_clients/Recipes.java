import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.watch.PersistentWatcher;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.zookeeper.CreateMode;

/** Curator's recipes against the ensemble named by the first argument; prints "ok NAME" for each that held. */
public class Recipes {
    private static final int WAIT_S = 15;
    private static String connect;

    interface Recipe {
        void run(CuratorFramework one, CuratorFramework other) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        connect = arguments[0];
        try (CuratorFramework one = client(); CuratorFramework other = client()) {
            recipe("mutex", one, other, Recipes::mutex);
            recipe("read-write lock", one, other, Recipes::readWriteLock);
            recipe("semaphore", one, other, Recipes::semaphore);
            recipe("leader latch", one, other, Recipes::leaderLatch);
            recipe("atomic long", one, other, Recipes::atomicLong);
            recipe("shared count", one, other, Recipes::sharedCount);
            recipe("double barrier", one, other, Recipes::doubleBarrier);
            recipe("queue", one, other, Recipes::queue);
            recipe("cache", one, other, Recipes::cache);
            recipe("persistent watcher", one, other, Recipes::persistentWatcher);
            recipe("persistent node", one, other, Recipes::persistentNode);
            recipe("group member", one, other, Recipes::groupMember);
            recipe("transaction", one, other, Recipes::transaction);
        }
        System.exit(0);
    }

    private static CuratorFramework client() throws Exception {
        CuratorFramework client =
            CuratorFrameworkFactory.builder()
                .connectString(connect)
                .namespace("recipes")
                .sessionTimeoutMs(10_000)
                .retryPolicy(new ExponentialBackoffRetry(100, 8))
                .build();
        client.start();
        check(client.blockUntilConnected(WAIT_S, TimeUnit.SECONDS), "no connection");
        return client;
    }

    private static void recipe(String name, CuratorFramework one, CuratorFramework other, Recipe body) {
        try {
            body.run(one, other);
            System.out.println("ok " + name);
        } catch (Exception | AssertionError failure) {
            System.out.println("FAILED " + name + ": " + failure);
            failure.printStackTrace();
        }
    }

    private static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    private static void eventually(java.util.concurrent.Callable<Boolean> holds, String otherwise) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(WAIT_S);
        while (!holds.call()) {
            check(System.nanoTime() < end, otherwise);
            Thread.sleep(20);
        }
    }

    private static void mutex(CuratorFramework one, CuratorFramework other) throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger turns = new AtomicInteger();
        Thread[] threads = new Thread[6];
        for (int number = 0; number < threads.length; number++) {
            InterProcessMutex lock = new InterProcessMutex(number % 2 == 0 ? one : other, "/mutex");
            threads[number] = new Thread(() -> {
                try {
                    for (int turn = 0; turn < 10; turn++) {
                        check(lock.acquire(WAIT_S, TimeUnit.SECONDS), "the lock did not come");
                        check(inside.incrementAndGet() == 1, "two hold the lock");
                        turns.incrementAndGet();
                        inside.decrementAndGet();
                        lock.release();
                    }
                } catch (Exception failure) {
                    failure.printStackTrace();
                }
            });
            threads[number].start();
        }
        for (Thread thread : threads) {
            thread.join(TimeUnit.SECONDS.toMillis(2 * WAIT_S));
        }
        check(turns.get() == 60, turns.get() + " of 60 turns");
    }

    private static void readWriteLock(CuratorFramework one, CuratorFramework other) throws Exception {
        InterProcessReadWriteLock mine = new InterProcessReadWriteLock(one, "/rw");
        InterProcessReadWriteLock theirs = new InterProcessReadWriteLock(other, "/rw");
        check(mine.readLock().acquire(WAIT_S, TimeUnit.SECONDS), "no read lock");
        check(theirs.readLock().acquire(WAIT_S, TimeUnit.SECONDS), "readers exclude each other");
        check(!theirs.writeLock().acquire(300, TimeUnit.MILLISECONDS), "a writer beside readers");
        mine.readLock().release();
        theirs.readLock().release();
        check(theirs.writeLock().acquire(WAIT_S, TimeUnit.SECONDS), "no write lock");
        check(!mine.readLock().acquire(300, TimeUnit.MILLISECONDS), "a reader beside a writer");
        theirs.writeLock().release();
    }

    private static void semaphore(CuratorFramework one, CuratorFramework other) throws Exception {
        InterProcessSemaphoreV2 mine = new InterProcessSemaphoreV2(one, "/semaphore", 2);
        InterProcessSemaphoreV2 theirs = new InterProcessSemaphoreV2(other, "/semaphore", 2);
        Lease first = mine.acquire(WAIT_S, TimeUnit.SECONDS);
        Lease second = theirs.acquire(WAIT_S, TimeUnit.SECONDS);
        check(first != null && second != null, "two leases are not given");
        check(mine.acquire(300, TimeUnit.MILLISECONDS) == null, "a third of two leases");
        mine.returnLease(first);
        Lease third = theirs.acquire(WAIT_S, TimeUnit.SECONDS);
        check(third != null, "the returned lease is not given");
        theirs.returnLease(second);
        theirs.returnLease(third);
    }

    private static void leaderLatch(CuratorFramework one, CuratorFramework other) throws Exception {
        LeaderLatch mine = new LeaderLatch(one, "/latch", "mine");
        LeaderLatch theirs = new LeaderLatch(other, "/latch", "theirs");
        mine.start();
        check(mine.await(WAIT_S, TimeUnit.SECONDS), "no leader");
        theirs.start();
        eventually(() -> mine.getParticipants().size() == 2, "two do not take part");
        check(!theirs.hasLeadership() && theirs.getLeader().getId().equals("mine"), "the wrong leader");
        mine.close();
        check(theirs.await(WAIT_S, TimeUnit.SECONDS), "nobody leads after the leader went");
        theirs.close();
    }

    private static void atomicLong(CuratorFramework one, CuratorFramework other) throws Exception {
        Thread[] threads = new Thread[4];
        AtomicInteger succeeded = new AtomicInteger();
        for (int number = 0; number < threads.length; number++) {
            DistributedAtomicLong counter =
                new DistributedAtomicLong(number % 2 == 0 ? one : other, "/long", new ExponentialBackoffRetry(5, 20));
            threads[number] = new Thread(() -> {
                try {
                    for (int turn = 0; turn < 25; turn++) {
                        if (counter.increment().succeeded()) {
                            succeeded.incrementAndGet();
                        }
                    }
                } catch (Exception failure) {
                    failure.printStackTrace();
                }
            });
            threads[number].start();
        }
        for (Thread thread : threads) {
            thread.join(TimeUnit.SECONDS.toMillis(2 * WAIT_S));
        }
        one.sync().forPath("/long");
        long value = new DistributedAtomicLong(one, "/long", new ExponentialBackoffRetry(5, 20)).get().postValue();
        check(value == succeeded.get() && value > 0, value + " counted, " + succeeded + " succeeded");
    }

    private static void sharedCount(CuratorFramework one, CuratorFramework other) throws Exception {
        try (SharedCount mine = new SharedCount(one, "/count", 3); SharedCount theirs = new SharedCount(other, "/count", 3)) {
            mine.start();
            theirs.start();
            mine.setCount(7);
            eventually(() -> theirs.getCount() == 7, "the count is not seen by the other");
            check(theirs.trySetCount(theirs.getVersionedValue(), 8), "the newest version is refused");
            eventually(() -> mine.getCount() == 8, "the count is not seen");
        }
    }

    private static void doubleBarrier(CuratorFramework one, CuratorFramework other) throws Exception {
        CountDownLatch left = new CountDownLatch(2);
        for (CuratorFramework client : List.of(one, other)) {
            new Thread(() -> {
                try {
                    DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(client, "/double-barrier", 2);
                    if (barrier.enter(WAIT_S, TimeUnit.SECONDS) && barrier.leave(WAIT_S, TimeUnit.SECONDS)) {
                        left.countDown();
                    }
                } catch (Exception failure) {
                    failure.printStackTrace();
                }
            }).start();
        }
        check(left.await(2 * WAIT_S, TimeUnit.SECONDS), "not both went through");
    }

    private static void queue(CuratorFramework one, CuratorFramework other) throws Exception {
        SimpleDistributedQueue mine = new SimpleDistributedQueue(one, "/queue");
        SimpleDistributedQueue theirs = new SimpleDistributedQueue(other, "/queue");
        for (int number = 0; number < 20; number++) {
            check(mine.offer(("item " + number).getBytes()), "an item is refused");
        }
        for (int number = 0; number < 20; number++) {
            byte[] item = theirs.poll(WAIT_S, TimeUnit.SECONDS);
            check(item != null && new String(item).equals("item " + number), "item " + number + " is out of turn");
        }
    }

    private static void cache(CuratorFramework one, CuratorFramework other) throws Exception {
        try (CuratorCache cache = CuratorCache.build(one, "/cache")) {
            CountDownLatch ready = new CountDownLatch(1);
            cache.listenable().addListener(
                org.apache.curator.framework.recipes.cache.CuratorCacheListener.builder().forInitialized(ready::countDown).build());
            cache.start();
            check(ready.await(WAIT_S, TimeUnit.SECONDS), "the cache is never ready");
            other.create().creatingParentsIfNeeded().forPath("/cache/a/b", "1".getBytes());
            eventually(() -> cache.get("/cache/a/b").isPresent(), "a new node is not seen");
            other.setData().forPath("/cache/a/b", "2".getBytes());
            eventually(() -> new String(cache.get("/cache/a/b").get().getData()).equals("2"), "a change is not seen");
            other.delete().deletingChildrenIfNeeded().forPath("/cache/a");
            eventually(() -> cache.get("/cache/a").isEmpty() && cache.get("/cache/a/b").isEmpty(), "a deletion is not seen");
        }
    }

    private static void persistentWatcher(CuratorFramework one, CuratorFramework other) throws Exception {
        AtomicInteger seen = new AtomicInteger();
        try (PersistentWatcher watcher = new PersistentWatcher(one, "/watched", true)) {
            CountDownLatch set = new CountDownLatch(1);
            watcher.getListenable().addListener(event -> {
                if (event.getPath() != null && event.getPath().startsWith("/watched/")) {
                    seen.incrementAndGet();
                }
            });
            watcher.getResetListenable().addListener(set::countDown);
            watcher.start();
            check(set.await(WAIT_S, TimeUnit.SECONDS), "the watch is never set");
            for (int number = 0; number < 10; number++) {
                other.create().creatingParentsIfNeeded().forPath("/watched/" + number);
            }
            eventually(() -> seen.get() == 10, "not every event came");
        }
    }

    private static void persistentNode(CuratorFramework one, CuratorFramework other) throws Exception {
        try (PersistentNode node = new PersistentNode(one, CreateMode.EPHEMERAL, false, "/kept", "x".getBytes())) {
            node.start();
            check(node.waitForInitialCreate(WAIT_S, TimeUnit.SECONDS), "the node is not there");
            other.sync().forPath("/kept");
            other.delete().forPath("/kept");
            eventually(() -> other.checkExists().forPath("/kept") != null, "the node does not come back");
        }
        eventually(() -> other.checkExists().forPath("/kept") == null, "the node stays");
    }

    private static void groupMember(CuratorFramework one, CuratorFramework other) throws Exception {
        try (GroupMember mine = new GroupMember(one, "/members", "mine"); GroupMember theirs = new GroupMember(other, "/members", "theirs")) {
            mine.start();
            theirs.start();
            eventually(() -> mine.getCurrentMembers().size() == 2 && theirs.getCurrentMembers().size() == 2, "two are not seen");
            theirs.close();
            eventually(() -> mine.getCurrentMembers().size() == 1, "the one that left is still seen");
        }
    }

    private static void transaction(CuratorFramework one, CuratorFramework other) throws Exception {
        var made = one.transaction().forOperations(
            one.transactionOp().create().forPath("/pair", "1".getBytes()),
            one.transactionOp().create().forPath("/pair/half", "2".getBytes()));
        check(made.size() == 2, "two results were due");
        try {
            one.transaction().forOperations(
                one.transactionOp().setData().forPath("/pair", "3".getBytes()),
                one.transactionOp().check().withVersion(9).forPath("/pair/half"));
            throw new AssertionError("a failed check did not fail the whole");
        } catch (org.apache.zookeeper.KeeperException.BadVersionException expected) {
            check(new String(one.getData().forPath("/pair")).equals("1"), "half of a transaction happened");
        }
        other.sync().forPath("/pair");
        check(other.checkExists().forPath("/pair/half").getDataLength() == 1, "the transaction is not seen");
    }
}
